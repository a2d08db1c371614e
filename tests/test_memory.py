"""What the daemon with the built-in encoder takes of a machine's memory."""

import psutil
import pytest
from daemon import daemon

MEGABYTE = 1_000_000


@pytest.mark.real
async def test_a_running_daemon_stays_far_below_350_megabytes(tmp_path):
    config = {
        "sources": {f"room_{number}": {"type": "demo"} for number in range(16)},
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
