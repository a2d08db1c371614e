"""The outbox keeps events in order until they are acknowledged, across restarts and kills."""
# ruff: noqa: ASYNC110 - a test may block its own event loop

import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from forkserver import ForkServer, is_alive
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from outbox_kit import FAST_FOLDER, an_event, contents, fill, outbox_path

from monitor.outbox import Backlog, Outbox
from monitor.types import Event, Phase, Reason

__all__ = ["outbox_path"]  # fixtures
KILLS = int(os.environ.get("SOUND_MONITOR_KILLS", "20"))


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
