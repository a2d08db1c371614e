"""One daemon has a state directory to itself; another one is told who has it."""

import signal
from contextlib import suppress

import pytest
from daemon import daemon
from mosquitto import free_port

from monitor.directories import StateDirectory
from monitor.errors import SinkError


def demo(state, **settings):
    return {
        "sources": {"room": {"type": "demo"}},
        "events": {"dog": "a dog barks"},
        "mqtt": None,
        "http": {"enabled": False},
        "state_directory": str(state),
        **settings,
    }


@pytest.mark.real
@pytest.mark.parametrize("settings", [{}, {"mqtt": {}}, {"history": {}}], ids=["bare", "mqtt", "history"])
async def test_a_second_daemon_in_a_state_directory_is_refused_and_told_who_has_it(tmp_path, settings):
    if "mqtt" in settings:
        settings = {"mqtt": {"port": free_port()}}
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    async with daemon(tmp_path / "first", demo(tmp_path / "state", **settings)) as first:
        await first.logged("listening: 1 source")
        async with daemon(tmp_path / "second", demo(tmp_path / "state", **settings)) as second:
            assert await second.ended() == 1
            refusal = (
                f"sound-monitor: state_directory '{tmp_path}/state' is in use by process {first.process.pid} "
                f"(sound-monitor run {first.config}); end that one, or set state_directory to another"
            )
            assert second.log == [refusal, "(end of the log)"]
        assert await first.stop() == 0


@pytest.mark.real
async def test_kill_9_leaves_the_state_directory_to_the_next(tmp_path):
    config = demo(tmp_path / "state")
    async with daemon(tmp_path, config) as running:
        await running.logged("listening: 1 source")
        running.signal(signal.SIGKILL)
        await running.ended()
    async with daemon(tmp_path, config) as running:
        await running.logged("listening: 1 source")
        assert await running.stop() == 0


def test_a_state_directory_that_is_none_is_refused_with_its_remedy(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SinkError) as caught, StateDirectory(tmp_path / "state", tmp_path / "home.yaml"):
        pass
    assert str(caught.value) == f"state_directory '{tmp_path}/state' can't be used: File exists; name another"


@pytest.mark.parametrize("note", [b"", b"{", b"[1]", b'{"pid": "?"}'])
def test_a_refusal_without_a_readable_note_names_nobody(tmp_path, note):
    with StateDirectory(tmp_path, tmp_path / "home.yaml"):
        (tmp_path / "daemon.lock").write_bytes(note)
        with pytest.raises(SinkError, match="is in use by another process; end that one, or set"):
            StateDirectory(tmp_path, tmp_path / "away.yaml").__enter__()


@pytest.mark.real
def test_a_full_disk_keeps_no_daemon_from_its_state_directory(tmp_path, small_disk):
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with (
        StateDirectory(small_disk, tmp_path / "home.yaml"),
        pytest.raises(SinkError, match="is in use by another process"),
        StateDirectory(small_disk, tmp_path / "away.yaml"),
    ):
        pass
