"""systemd's watchdog, and what a real daemon tells it: progress, nothing while it hangs, progress again."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest
from daemon import daemon
from tones import write_scene

pytestmark = pytest.mark.real

# A model that hangs while a file is there, and less patience than the usual 15 s.
PROGRAM = """
import asyncio, pathlib, sys
import monitor.listening
from monitor.cli import main
from monitor.scoring import Scorer

monitor.listening._PROGRESS_SECONDS = 2.0
score = Scorer.score

async def hang(self, windows):
    while pathlib.Path("hang").exists():
        await asyncio.sleep(0.05)
    return await score(self, windows)

Scorer.score = hang
sys.exit(main())
"""


async def pinged(manager: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(manager, 4096) != b"WATCHDOG=1":
        pass


async def test_a_hanging_model_is_told_to_nobody_but_the_log_and_a_pause_is_no_hang(tmp_path):
    scene = write_scene(tmp_path / "scene.wav", (3000, 60), rate_hz=48_000)
    config = {
        "sources": {"room": {"type": "file", "path": str(scene), "loop": True}},
        "events": {"beep": "a high-pitched tone"},
        "windows": {"window_seconds": 1, "hop_seconds": 0.5},
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        async with daemon(tmp_path, config, {**os.environ, **settings}, ("-c", PROGRAM, "run")) as running:
            await running.logged("room: delivers sound")
            async with asyncio.timeout(30):
                await pinged(manager)
                (tmp_path / "hang").touch()
                await running.logged("no progress: source room: no scores for ")
            with contextlib.suppress(BlockingIOError):  # what was told before
                while manager.recv(4096):
                    pass
            await asyncio.sleep(1.5)
            with pytest.raises(BlockingIOError):
                manager.recv(4096)
            assert sum("no progress" in line for line in running.log) == 1
            (tmp_path / "hang").unlink()
            async with asyncio.timeout(30):
                await running.logged("there is progress again")
                await pinged(manager)
                running.signal(signal.SIGSTOP)
                await asyncio.sleep(4.0)
                running.signal(signal.SIGCONT)
                await pinged(manager)
                await pinged(manager)
            assert sum("no progress" in line for line in running.log) == 1
            assert await running.stop() == 0
