"""An RTSP server of a test's own, in a process that can be killed, frozen and revived on the same port."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mosquitto import free_port

_SERVER = Path(__file__).with_name("rtsp_server.py")
_PYTHON = "/usr/bin/python3"
PASSWORD = "s3cret"


class Rtsp:
    """A camera with a microphone that hears 1 kHz."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"rtsp://bob:{PASSWORD}@127.0.0.1:{self.port}/mic"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [_PYTHON, _SERVER, str(self.port), PASSWORD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


@contextmanager
def rtsp_server() -> Iterator[Rtsp]:
    """Run one; skips the test where ffmpeg or GStreamer's RTSP server isn't installed."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("gir1.2-gst-rtsp-server-1.0 is not installed")
    server = Rtsp()
    server.start()
    try:
        yield server
    finally:
        server.kill()
