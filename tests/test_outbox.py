"""The outbox keeps events in order until they are acknowledged, whatever happens to its file."""
# ruff: noqa: ASYNC110, ASYNC240 - a test may block its own event loop

import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from forkserver import ForkServer, is_alive
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.errors import SinkError
from monitor.outbox import Backlog, Outbox
from monitor.types import Event, Phase, Reason

HELPER = Path(__file__).with_name("outbox_writer.py")
KILLS = int(os.environ.get("SOUND_MONITOR_KILLS", "20"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HELPER.parent.parent)}


FAST_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


def an_event(number: int, source: str = "hall", clip: str | None = None) -> Event:
    return Event(
        id=f"{source}-{number}",
        source=source,
        name="dog_bark",
        phase=Phase.START,
        started_at=1_700_000_000.5 + number,
        ended_at=None,
        peak_score=0.75,
        threshold=0.5,
        reason=Reason.THRESHOLD,
        clip=clip,
    )


async def contents(outbox: Outbox) -> list[str]:
    return [waiting.event.id for waiting in await outbox.peek(1_000_000)]


async def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        await outbox.put(an_event(number))


def run_helper(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HELPER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=60)


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        yield Path(folder) / "state" / "outbox.db"


async def test_events_come_back_whole_and_in_order_until_acknowledged(tmp_path: Path):
    path = tmp_path / "state" / "outbox.db"
    ended = Event(
        *("x", "yard", "siren", Phase.END, 1.5, 9.25, 0.5, 0.25, Reason.SOURCE_LOST, "clips/x.flac"),
    )
    async with Outbox(path) as outbox:
        await fill(outbox, 3)
        await outbox.put(ended)
        first, *_, last = await outbox.peek(10)
        assert first.event == an_event(0)
        assert last.event == ended
        assert [waiting.event for waiting in await outbox.peek(2)] == [an_event(0), an_event(1)]
        await outbox.ack([first.id])
        assert await contents(outbox) == ["hall-1", "hall-2", "x"]
    async with Outbox(path) as outbox:
        assert outbox.backlog.pending == 3
        assert await contents(outbox) == ["hall-1", "hall-2", "x"]
        await outbox.ack([waiting.id for waiting in await outbox.peek(10)])
        assert outbox.backlog == Backlog()
    async with Outbox(path) as outbox:
        assert await contents(outbox) == []


async def test_the_oldest_go_when_there_are_too_many(path: Path, caplog: pytest.LogCaptureFixture):
    async with Outbox(path, max_events=5) as outbox:
        await fill(outbox, 8)
        assert await contents(outbox) == [f"hall-{n}" for n in range(3, 8)]
        assert outbox.backlog.pending == 5
        assert outbox.dropped == {"age": 0, "count": 3, "disk": 0, "unreadable": 0}
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "oldest 1 events are dropped (limits: 5 events, 7.0 days)" in warnings[0].message


async def test_the_too_old_go_even_when_nothing_new_comes(path: Path):
    now = 1000.0
    async with Outbox(path, max_age_seconds=60.0, clock=lambda: now) as outbox:
        await outbox.put(an_event(0))
        now = 1050.0
        await outbox.put(an_event(1))
        assert outbox.backlog.oldest_time == 1000.0
        now = 1061.0
        assert await contents(outbox) == ["hall-1"]
        assert outbox.backlog == Backlog(pending=1, oldest_time=1050.0)
        assert outbox.dropped["age"] == 1


@pytest.mark.parametrize("jump_seconds", [-20 * 365 * 86_400, 20 * 365 * 86_400])
async def test_a_wall_clock_that_jumps_ages_nothing(path: Path, jump_seconds: int, monkeypatch):
    async with Outbox(path) as outbox:
        await outbox.put(an_event(0))
        real_time = time.time
        monkeypatch.setattr(time, "time", lambda: real_time() + jump_seconds)
        await outbox.put(an_event(1))
        assert await contents(outbox) == ["hall-0", "hall-1"]
        assert sum(outbox.dropped.values()) == 0


async def test_a_cancelled_put_is_either_there_or_not_and_harms_nothing(path: Path):
    async with Outbox(path) as outbox:
        for number in range(20):
            task = asyncio.create_task(outbox.put(an_event(number)))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await outbox.put(an_event(99))
        kept = await contents(outbox)
        assert kept[-1] == "hall-99"
        assert kept == sorted(kept, key=lambda name: int(name.removeprefix("hall-")))
        assert outbox.backlog.pending == len(kept)


async def test_what_lasts_at_a_crash_has_its_end_at_the_next_start(path: Path, monkeypatch):
    now = 1_700_000_100.0
    monkeypatch.setattr("monitor.outbox._NOTE_SECONDS", 0.01)
    async with Outbox(path, wall_clock=lambda: now) as outbox:
        assert outbox.cut_short == []
        await fill(outbox, 3)
        await outbox.put(replace(an_event(1), phase=Phase.END, ended_at=1_700_000_050.0))
        now = 1_700_000_500.0
        await asyncio.sleep(0.1)
        await outbox.ack([waiting.id for waiting in await outbox.peek(9)])
    async with Outbox(path) as outbox:  # whether the starts still wait or not
        ends = outbox.cut_short
        assert [(end.id, end.phase, end.reason) for end in ends] == [
            ("hall-0", Phase.END, Reason.RESTART),
            ("hall-2", Phase.END, Reason.RESTART),
        ]
        assert {end.ended_at for end in ends} == {now}, "lasted when it was noted last"
        await outbox.put(ends[0])
    async with Outbox(path) as outbox:
        assert [end.id for end in outbox.cut_short] == ["hall-2"]
        await outbox.put(outbox.cut_short[0])
    async with Outbox(path) as outbox:
        assert outbox.cut_short == []
        assert await contents(outbox) == ["hall-0", "hall-2"]


async def test_an_outbox_of_before_what_lasts_was_noted_is_taken_over(path: Path):
    async with Outbox(path) as outbox:
        await fill(outbox, 2)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE lasting")
    async with Outbox(path) as outbox:
        assert await contents(outbox) == ["hall-0", "hall-1"]
        assert outbox.cut_short == []


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


class OutboxMachine(RuleBasedStateMachine):
    """The outbox against a list: same order, nothing acknowledged comes back, nothing else goes."""

    MAX_EVENTS = 12
    MAX_AGE_SECONDS = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=FAST_FOLDER)
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.number = 0
        self.model: list[tuple[float, str]] = []
        self.expected_drops = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(
            Path(self.folder.name) / "outbox.db",
            max_events=self.MAX_EVENTS,
            max_age_seconds=self.MAX_AGE_SECONDS,
            clock=lambda: self.now,
        )
        self.runner.run(self.outbox.__aenter__())

    def age(self) -> None:
        while self.model and self.model[0][0] < self.now - self.MAX_AGE_SECONDS:
            self.model.pop(0)

    @rule(source=st.sampled_from(["hall", "yard"]))
    def put(self, source: str) -> None:
        event = an_event(self.number, source)
        self.number += 1
        self.runner.run(self.outbox.put(event))
        self.model.append((self.now, event.id))
        self.age()
        while len(self.model) > self.MAX_EVENTS:
            self.model.pop(0)

    @rule(limit=st.integers(1, 15), data=st.data())
    def peek_and_acknowledge_some(self, limit: int, data: st.DataObject) -> None:
        waiting = self.runner.run(self.outbox.peek(limit))
        self.age()
        assert [w.event.id for w in waiting] == [name for _, name in self.model[:limit]]
        chosen = data.draw(st.sets(st.sampled_from(waiting))) if waiting else set()
        self.runner.run(self.outbox.ack([w.id for w in chosen]))
        gone = {w.event.id for w in chosen}
        self.model = [row for row in self.model if row[1] not in gone]

    @rule(seconds=st.floats(0.0, 60.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def close_and_open_again(self) -> None:
        self.runner.run(self.outbox.__aexit__())
        self.open()

    @invariant()
    def counts_are_right(self) -> None:
        oldest = self.outbox.backlog.oldest_time
        if oldest is not None and oldest < self.now - self.MAX_AGE_SECONDS:
            return  # expiry shows at the next use
        self.age()
        assert self.outbox.backlog.pending == len(self.model)
        assert oldest == (self.model[0][0] if self.model else None)

    def teardown(self) -> None:
        self.runner.run(self.outbox.__aexit__())
        self.runner.close()
        self.folder.cleanup()


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase


@pytest.mark.real
async def test_what_was_put_survives_kill_9_at_random_moments(path: Path, tmp_path: Path):
    dice = random.Random(7)
    log = tmp_path / "written"
    promised: set[str] = set()
    attempted = 0
    with ForkServer() as server:
        for round_ in range(KILLS):
            writer = server.start("outbox_writer:write", path, round_, 100_000, output=log)
            while not log.stat().st_size:
                assert is_alive(writer)
                await asyncio.sleep(0.002)
            await asyncio.sleep(dice.uniform(0.0, 0.05))
            os.kill(writer, signal.SIGKILL)
            while is_alive(writer):
                await asyncio.sleep(0.002)
            # The last line may be torn; its event is either there or not, and both are right.
            lines = log.read_text().splitlines(keepends=True)
            promised |= {line[4:].strip() for line in lines if line.endswith("\n")}
            attempted += len(lines)
            async with Outbox(path) as outbox:
                kept = await contents(outbox)
            assert promised <= set(kept)
            assert len(kept) == len(set(kept))
            order = [(int(a), int(b)) for a, b in (name.removeprefix("round").split("-") for name in kept)]
            assert order == sorted(order)
            assert len(kept) <= attempted + round_ + 1, "at most one unannounced event a round"
    assert len(promised) > 100


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


def damaged_copies(original: bytes, wal: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Files as a power cut, a bad SD card or a stray program leaves them."""
    dice = random.Random(3)
    yield "empty", b"", b""
    yield "emptied", b"", wal
    yield "text", b"this is not a database\n" * 500, b""
    yield "zeros", bytes(len(original)), b""
    for _ in range(15):
        yield "truncated", original[: dice.randrange(1, len(original))], wal
        yield "log truncated", original, wal[: dice.randrange(len(wal) + 1)]
        bad = bytearray(original)
        start = dice.randrange(len(bad))
        bad[start : start + 600] = dice.randbytes(len(bad[start : start + 600]))
        yield "overwritten", bytes(bad), wal
        page = 4096 * dice.randrange(len(original) // 4096)
        yield "a page of zeros", original[:page] + bytes(4096) + original[page + 4096 :], wal


async def test_a_damaged_file_is_set_aside_and_what_it_still_gives_is_kept(path: Path, caplog):
    """Nothing is invented or out of order, and the outbox works afterwards."""
    folder = path.parent
    source = folder / "source.db"
    async with Outbox(source) as outbox:
        await fill(outbox, 300)
    original = source.read_bytes()
    with contextlib.closing(sqlite3.connect(source)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("DELETE FROM events WHERE id > (SELECT id FROM events LIMIT 1 OFFSET 199)")
        db.commit()
        wal = Path(f"{source}-wal").read_bytes()
    assert wal
    everything = [f"hall-{n}" for n in range(300)]
    salvaged = 0
    for number, (kind, content, log) in enumerate(damaged_copies(original, wal)):
        path = folder / f"{number}" / "outbox.db"
        path.parent.mkdir()
        path.write_bytes(content)
        if log:
            Path(f"{path}-wal").write_bytes(log)
        caplog.clear()
        async with Outbox(path) as outbox:
            kept = await contents(outbox)
            assert kept == [name for name in everything if name in set(kept)], kind
            await outbox.put(an_event(1000))
            assert await contents(outbox) == [*kept, "hall-1000"], kind
        if aside := list(path.parent.glob("outbox.db.corrupt-*Z")):
            salvaged += len(kept)
            assert f"outbox {path} is damaged" in caplog.text
            assert f"set aside as {aside[0]}" in caplog.text
            assert [r.levelname for r in caplog.records if r.levelno >= logging.WARNING] == ["ERROR"]
        elif kind not in {"empty", "overwritten"}:
            assert len(kept) >= 199, kind
        async with Outbox(path) as outbox:
            assert await contents(outbox) == [*kept, "hall-1000"], kind
    assert salvaged, "at least some of the damaged files gave events"


async def test_damage_that_shows_while_running_is_survived(path: Path, caplog):
    async with Outbox(path, retry_seconds=0.02) as outbox:
        for number in range(200):
            await outbox.put(an_event(number, clip="x" * 30_000))  # more than SQLite's cache holds
        with path.open("r+b") as out:
            size = out.seek(0, 2)
            out.seek(size // 2)
            out.write(b"\xff" * (size // 2))
        for number in range(200, 220):
            await outbox.put(an_event(number))
            await outbox.ack([waiting.id for waiting in await outbox.peek(2)])
        kept = [int(name.removeprefix("hall-")) for name in await contents(outbox)]
        assert f"outbox {path} is damaged" in caplog.text
        assert kept == sorted(kept)
        assert kept[-1] == 219
    async with Outbox(path) as outbox:
        assert [int(name.removeprefix("hall-")) for name in await contents(outbox)] == kept
        assert len(outbox.cut_short) == 220, "what lasted is known all the same"


async def test_only_the_newest_damaged_files_are_kept(path: Path):
    path.parent.mkdir()
    for day in range(1, 7):
        path.with_name(f"outbox.db.corrupt-2020010{day}T000000Z").write_text("old")
    path.write_text("not a database" * 100)
    async with Outbox(path):
        pass
    left = sorted(file.name for file in path.parent.glob("*.corrupt-*"))
    assert left[:2] == ["outbox.db.corrupt-20200105T000000Z", "outbox.db.corrupt-20200106T000000Z"]
    assert len(left) == 3


async def test_a_row_that_can_not_be_read_is_dropped_and_counted(path: Path, caplog):
    async with Outbox(path) as outbox:
        await fill(outbox, 3)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            """UPDATE events SET event = '{"id": 1}' WHERE id = (SELECT id FROM events LIMIT 1 OFFSET 1)"""
        )
    async with Outbox(path) as outbox:
        assert await contents(outbox) == ["hall-0", "hall-2"]
        assert outbox.dropped["unreadable"] == 1
        assert outbox.backlog.pending == 2
        assert await contents(outbox) == ["hall-0", "hall-2"]
    assert "1 events can't be read and are dropped" in caplog.text
