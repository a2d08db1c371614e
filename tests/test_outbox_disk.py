"""An outbox whose path can't be used, and whose disk is slow, full or refuses."""
# ruff: noqa: ASYNC110, ASYNC240 - a test may block its own event loop

import asyncio
import contextlib
import logging
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from outbox_kit import an_event, contents, fill, outbox_path, run_helper

from monitor.errors import SinkError
from monitor.outbox import Outbox

__all__ = ["outbox_path"]  # fixtures


async def test_the_event_loop_is_not_blocked_by_a_slow_disk(path: Path, monkeypatch):
    import monitor.outbox.file as file_module

    original = file_module.EventFile.write
    monkeypatch.setattr(file_module.EventFile, "write", lambda *args: (time.sleep(0.3), original(*args))[1])
    async with Outbox(path) as outbox:
        put = asyncio.create_task(outbox.put(an_event(0)))
        ticks = 0
        while not put.done():
            await asyncio.sleep(0.01)
            ticks += 1
    assert ticks > 10


async def test_a_second_process_is_told_that_the_outbox_is_taken(path: Path):
    async with Outbox(path):
        other = run_helper("write", path, "0", "1")
        assert other.returncode == 1
        assert other.stderr.strip() == (
            f"SinkError: outbox {path}: another process has it open, perhaps a second sound-monitor; "
            "stop that one or set outbox.path"
        )
    async with Outbox(path) as outbox:
        assert outbox.backlog.pending == 0


async def test_paths_that_can_not_be_written_are_told_with_the_remedy(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, cause in (
        (tmp_path / "file" / "outbox.db", "File exists"),
        (tmp_path / "folder", "unable to open database file"),
    ):
        with pytest.raises(SinkError) as caught:
            async with Outbox(path):
                pass
        assert str(caught.value) == (
            f"outbox {path}: {cause}; let this user write to {path.parent} or set state_directory"
        )


async def test_a_read_only_folder_is_told_with_the_remedy():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "outbox.db"
        refused = run_helper("write-as-nobody", path, "0", "1")
    if refused.returncode == 77:
        pytest.skip("only root can become another user")
    assert refused.stderr.strip() == (
        f"SinkError: outbox {path}: unable to open database file; let this user write to {path.parent} "
        "or set state_directory"
    )


async def test_a_foreign_or_newer_database_is_refused_and_left_alone(tmp_path: Path):
    foreign, newer = tmp_path / "foreign.db", tmp_path / "newer.db"
    with contextlib.closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE recorder (x)")
    async with Outbox(newer):
        pass
    with contextlib.closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA user_version = 2")
    for path, cause in (
        (foreign, "a database of another program; set outbox.path to a file of its own"),
        (newer, "written by a newer sound-monitor (schema 2, this one knows 1); update sound-monitor"),
    ):
        before = path.read_bytes()
        with pytest.raises(SinkError, match="outbox") as caught:
            async with Outbox(path):
                pass
        assert cause in str(caught.value)
        assert path.read_bytes() == before


@pytest.mark.real
async def test_a_disk_that_refuses_loses_nothing_and_is_used_again(path: Path):
    result = run_helper("starve", path, 64 * 1024)
    assert result.returncode == 0, result.stderr
    assert "held 30 of" in result.stdout
    assert "kept" in result.stdout
    errors = [line for line in result.stderr.splitlines() if "outbox" in line]
    assert 1 <= len(errors) <= 5, "said at each time that it begins to refuse, not at every event"
    assert "disk I/O error; up to 50 events wait in memory until the disk takes them" in errors[0]


@pytest.mark.real
async def test_a_full_disk_is_said_bounded_in_memory_and_left_behind(small_disk: Path, caplog):
    caplog.set_level(logging.INFO)
    ballast = small_disk / "ballast"
    async with Outbox(small_disk / "outbox.db", max_unsaved=20, retry_seconds=0.02) as outbox:
        await fill(outbox, 5)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(4096))
        number = 5
        while not outbox.dropped["disk"]:
            await outbox.put(an_event(number))
            number += 1
        assert outbox.backlog.unsaved == 20
        kept = await contents(outbox)
        assert kept[:5] == [f"hall-{n}" for n in range(5)]
        assert kept[-20:] == [f"hall-{n}" for n in range(number - 20, number)]
        assert [r.levelname for r in caplog.records] == ["ERROR"]
        assert "database or disk is full; up to 20 events wait in memory" in caplog.text

        await outbox.ack([waiting.id for waiting in await outbox.peek(3)])
        assert (await contents(outbox))[0] == "hall-3", (
            "acknowledged events stay gone though the disk has them"
        )
        ballast.unlink()
        while outbox.backlog.unsaved:
            await asyncio.sleep(0.01)
        assert "written again" in caplog.text
    async with Outbox(small_disk / "outbox.db") as outbox:
        assert await contents(outbox) == kept[3:]


@pytest.mark.real
async def test_a_disk_that_is_full_at_start_delays_nothing(small_disk: Path):
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(512))
    async with Outbox(small_disk / "outbox.db", retry_seconds=0.02) as outbox:
        await fill(outbox, 3)
        assert await contents(outbox) == ["hall-0", "hall-1", "hall-2"]
        assert outbox.backlog.unsaved == 3
        ballast.unlink()
        while outbox.backlog.unsaved:
            await asyncio.sleep(0.01)
    async with Outbox(small_disk / "outbox.db") as outbox:
        assert await contents(outbox) == ["hall-0", "hall-1", "hall-2"]
