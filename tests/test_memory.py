"""What the daemon with the built-in encoder takes of a machine's memory."""

import numpy as np
import psutil
import pytest
import soundfile
from daemon import daemon

MEGABYTE = 1_000_000


@pytest.mark.real
async def test_a_running_daemon_stays_far_below_350_megabytes(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * 48000)
    soundfile.write(tmp_path / "noise.wav", noise, 48000)
    source = {"type": "file", "path": "noise.wav", "loop": True}
    config = {
        "sources": {f"room_{number}": source for number in range(16)},
        "events": {f"event_{number}": f"the sound of thing number {number}" for number in range(50)},
        "mqtt": {"broker": "embedded"},
    }
    async with daemon(tmp_path, config) as running:
        await running.logged("listening")
        while min(source["windows_scored"] for source in (await running.status())["sources"]) < 4:
            assert (await running.get(""))[0] == (await running.get("metrics"))[0] == 200
        used = psutil.Process(running.process.pid).memory_info().rss / MEGABYTE
        assert await running.stop() == 0
    print(f"{used:.0f} MB")  # noqa: T201
    assert used < 350
