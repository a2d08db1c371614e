"""`sound-monitor tail` finds the monitor, or says that it isn't there."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import pytest
import yaml
from daemon import daemon
from mosquitto import free_port, mosquitto

from monitor.directories import StateDirectory, embedded_port
from monitor.errors import SinkError

pytestmark = pytest.mark.real


def demo(folder, port):
    return {
        "sources": {"room": {"type": "demo"}},
        "events": {"dog": "a dog barks"},
        "mqtt": {"port": port},
        "http": {"enabled": False},
        "state_directory": str(folder / "state"),
    }


@asynccontextmanager
async def tailing(config):
    """Run it as users do."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "tail", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_tail_finds_an_embedded_broker_that_had_to_move_and_a_foreign_one_once_it_is_killed(tmp_path):
    with mosquitto(tmp_path) as foreign:
        async with daemon(tmp_path, demo(tmp_path, foreign.port)) as running:
            await running.logged(f"port {foreign.port} is taken, using {foreign.port + 1}")
            await running.logged("listening: 1 source")
            async with tailing(running.config) as tail, asyncio.timeout(30):
                async for line in tail.stdout:
                    if b"sound-monitor/status (retained) online" in line:
                        break
                else:
                    pytest.fail("the end came first")
            running.signal(signal.SIGKILL)
            await running.ended()
        async with tailing(running.config) as tail, asyncio.timeout(30):
            assert (await tail.stderr.readline()).decode() == (
                f"MQTT broker 127.0.0.1:{foreign.port}: nothing of this monitor is there (sound-monitor/#); "
                "check that `sound-monitor run` runs and which broker its log names: mqtt.broker, mqtt.port "
                "and mqtt.prefix have to say the same\n"
            )


async def test_tail_says_once_that_nothing_listens_where_nobody_does(tmp_path):
    config, port = tmp_path / "config.yaml", free_port()
    config.write_text(yaml.safe_dump(demo(tmp_path, port)))
    async with tailing(config) as tail, asyncio.timeout(30):
        said = (await tail.stderr.readline()).decode()
        assert said.startswith(
            f"MQTT broker 127.0.0.1:{port}: nothing listens there; check that the broker runs"
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(8):
                assert await tail.stderr.readline() is None


@pytest.mark.parametrize("note", [b"", b"[1]", b'{"mqtt_port": "no"}'])
def test_a_port_that_is_not_noted_is_none(tmp_path, note):
    assert embedded_port(tmp_path / "nowhere") is None
    with StateDirectory(tmp_path, tmp_path / "home.yaml") as state:
        state.note(mqtt_port=1884)
        assert embedded_port(tmp_path) == 1884
        (tmp_path / "daemon.lock").write_bytes(note)
        assert embedded_port(tmp_path) is None
    assert embedded_port(tmp_path) is None


async def test_whoever_asks_for_the_port_keeps_no_daemon_from_its_state_directory(tmp_path):
    refused = 0
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        "import sys; from pathlib import Path; from monitor.directories import embedded_port\n"
        "print(flush=True)\nwhile True: embedded_port(Path(sys.argv[1]))",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await asking.stdout.readline()
        for _ in range(50):
            try:
                with StateDirectory(tmp_path, tmp_path / "home.yaml"):
                    pass
            except SinkError:
                refused += 1
    finally:
        asking.kill()
        await asking.wait()
    assert not refused
