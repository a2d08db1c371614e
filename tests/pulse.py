"""A PulseAudio server of a test's own: virtual microphones that can be spoken into, unplugged and plugged in.

`room` is the default input. Each name of `rooms` is a null sink to play to, whose monitor PortAudio sees as
the input `<name>_mic`. `environment` is for the processes that shall hear it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_ALSA = """
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
_ALSA_ROOM = """
pcm.%(room)s_mic { type pulse device %(room)s.monitor hint { description "%(room)s" } }
"""


class Pulse:
    """One running server."""

    def __init__(self, directory: Path, rooms: Sequence[str], channels: int) -> None:
        self._channels = channels
        self._directory = directory
        self._players: list[subprocess.Popen[bytes]] = []
        self._modules: dict[str, str] = {}
        self.environment = os.environ | {
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
            "PULSE_SERVER": f"unix:{directory}/pulse/native",
        }
        for name in ("ALSA_CONFIG_PATH", "PULSE_RUNTIME_PATH", "PULSE_SOURCE", "PULSE_SINK"):
            self.environment.pop(name, None)
        text = _ALSA + "".join(_ALSA_ROOM % {"room": room} for room in rooms)
        (directory / ".asoundrc").write_text(text)
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "pulseaudio",
                    "-n",
                    "--daemonize=no",
                    "--use-pid-file=no",
                    "--exit-idle-time=300",  # an end of its own, should the test be killed
                    "--load=module-native-protocol-unix",
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_up()
        for room in rooms:
            self.plug_in(room)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + 60.0
        probe = ["pactl", "info"]
        while subprocess.run(probe, env=self.environment, capture_output=True, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PulseAudio did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def plug_in(self, room: str = "room") -> None:
        # With rewinds, a null sink's monitor loses some milliseconds when a player starts.
        properties = f"sink_properties=device.description={room}"
        self._modules[room] = self._pactl(
            "load-module",
            "module-null-sink",
            f"sink_name={room}",
            "rate=48000",
            f"channels={self._channels}",
            "norewinds=1",
            properties,
        )
        # An idle null sink lets a first listener wait for two seconds; a sound card doesn't.
        awake = ["parec", "--latency-msec=20", f"--device={room}.monitor"]
        self._players.append(
            subprocess.Popen(
                awake, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        if room == "room":
            self._pactl("set-default-source", "room.monitor")
            self._pactl("set-default-sink", "room")

    def unplug(self, room: str = "room") -> None:
        self._pactl("unload-module", self._modules.pop(room))

    def play(self, path: Path, room: str = "room") -> subprocess.Popen[bytes]:
        """Start playing a WAV, FLAC or OGG; the process ends with it."""
        # Not ffmpeg: it withholds the first two seconds and doesn't play a recording's end.
        command = ["paplay", f"--device={room}", path]
        player = subprocess.Popen(command, env=self.environment)
        self._players.append(player)
        return player

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.thaw()
        for process in (*self._players, self.process):
            process.terminate()
        for process in (*self._players, self.process):
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        assert done.returncode == 0, f"pactl {arguments}: {done.stderr}"
        return done.stdout.strip()


@contextmanager
def pulse_server(rooms: Sequence[str] = ("room",), channels: int = 1) -> Iterator[Pulse]:
    """Run a server; skips the test where PulseAudio or a player isn't installed."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    # Not pytest's folder: a socket's path is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pulse-", ignore_cleanup_errors=True) as directory:
        pulse = Pulse(Path(directory), rooms, channels)
        try:
            yield pulse
        finally:
            pulse.close()
