"""An outbox whose file is damaged: what it still gives is kept, and the rest is set aside and told."""
# ruff: noqa: ASYNC240 - a test may block its own event loop

import contextlib
import logging
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from outbox_kit import an_event, contents, fill, outbox_path

from monitor.outbox import Outbox

__all__ = ["outbox_path"]  # fixtures


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
