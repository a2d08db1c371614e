"""The outbox's SQLite file: WAL and `synchronous=FULL`, so that what was written is there after a power cut.

It is locked while it is open: two monitors can't share it by mistake. Methods raise sqlite3.Error, and
SinkError for a file that isn't an outbox of ours.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from monitor.errors import SinkError
from monitor.types import Event, Phase, Reason

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x534D4F42
_LOCK_TIMEOUT_SECONDS = 1.0
_HEADER_BYTES = 512
_DAMAGED_FILES_KEPT = 3
_EVENTS = """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        put_time REAL NOT NULL,
        event TEXT NOT NULL
    )
"""
_LASTING = """
    CREATE TABLE IF NOT EXISTS lasting (
        id TEXT PRIMARY KEY,
        seen_at REAL NOT NULL,
        start TEXT NOT NULL
    )
"""
_OLDEST_FIRST = "SELECT id, put_time, event FROM events ORDER BY id"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event in the outbox."""

    id: int
    """For `ack`; rises in the order of `put`."""
    put_time: float
    """Unix seconds."""
    event: Event


@dataclass(frozen=True, slots=True)
class Lasting:
    """An occurrence that has begun and whose end hasn't been put yet."""

    start: Event
    seen_at: float
    """Unix seconds at which it was known to last."""


class EventFile:
    """Rows of waiting events and of what lasts; everything from one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.last_id = 0
        self.oldest_time: float | None = None
        self.lasting: dict[str, Lasting] = {}
        """What the file has, by the events' ids."""
        self._db: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """Open or create the file, checked for damage."""
        if _size(self.path) < _HEADER_BYTES and _size(Path(f"{self.path}-wal")):
            raise _damage("the file is cut off, its log isn't")  # SQLite would take it for a new one
        db = sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT_SECONDS, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            is_new = self._check(db)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 1048576")
            if is_new:
                with _transaction(db):
                    db.execute(_EVENTS)
                    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute(_LASTING)
            self.lasting = _read_lasting(db)
            ((self.count, self.last_id),) = db.execute("SELECT COUNT(*), COALESCE(MAX(id), 0) FROM events")
            self.oldest_time = _oldest_time(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def close(self) -> None:
        """Close; the next read or write opens again."""
        if self._db:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def read(self, limit: int, skip: Collection[int]) -> tuple[list[Waiting], list[int]]:
        """Return the oldest events without those to skip, and the ids of rows that can't be read."""
        db = self._db or self.open()
        waiting, unreadable = [], []
        for id_, put_time, text in db.execute(_OLDEST_FIRST + " LIMIT ?", (limit + len(skip),)):
            if id_ not in skip:
                try:
                    waiting.append(Waiting(id_, put_time, _decode(text)))
                except (ValueError, KeyError, TypeError):
                    unreadable.append(id_)
        return waiting[:limit], unreadable

    def write(
        self,
        new: Collection[Waiting],
        gone: Collection[int],
        lasting: Mapping[str, Lasting],
        over: Collection[str],
        expired_before: float,
        max_events: int,
    ) -> tuple[int, int]:
        """Add and remove in one transaction; return how many more went for their age and for their number.

        `lasting` is what lasts now, `over` what has ended since the last write.
        """
        db = self._db or self.open()
        with _transaction(db):
            start = db.total_changes
            db.executemany("DELETE FROM events WHERE id = ?", [(id_,) for id_ in gone])
            removed = db.total_changes - start
            # A transaction that was reported as failed may have reached the disk all the same: hence IGNORE.
            db.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?)",
                [(row.id, row.put_time, _encode(row.event)) for row in new],
            )
            count = self.count + (db.total_changes - start - removed) - removed
            changed = {id_: each for id_, each in lasting.items() if self.lasting.get(id_) != each}
            db.executemany(
                "INSERT OR REPLACE INTO lasting VALUES (?, ?, ?)",
                [(id_, each.seen_at, _encode(each.start)) for id_, each in changed.items()],
            )
            db.executemany("DELETE FROM lasting WHERE id = ?", [(id_,) for id_ in over])
            oldest = _oldest_time(db)
            aged = 0
            if oldest is not None and oldest < expired_before:
                aged = db.execute("DELETE FROM events WHERE put_time < ?", (expired_before,)).rowcount
            excess = max(0, count - aged - max_events)
            if excess:
                db.execute(
                    "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?)", (excess,)
                )
            oldest = _oldest_time(db)
        self.count = count - aged - excess
        self.last_id = max(self.last_id, *(row.id for row in new), 0)
        self.oldest_time = oldest
        self.lasting |= changed
        for id_ in over:
            self.lasting.pop(id_, None)
        return aged, excess

    def start_anew(self, cause: str) -> tuple[list[Waiting], dict[str, Lasting]]:
        """Set the damaged file aside, open a new one, and return what the old one still gives."""
        self.close()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        self.count = 0
        events, lasting = _salvage(aside)
        _log.error(
            "outbox %s is damaged (%s): set aside as %s, started anew with the %d events that it still gave",
            *(self.path, cause, aside, len(events)),
        )
        for old in sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*Z"))[:-_DAMAGED_FILES_KEPT]:
            old.unlink()
        self.open()
        return events, lasting

    def _check(self, db: sqlite3.Connection) -> bool:
        """Return whether the file is new; raise when it is damaged or not ours."""
        ((application,),) = db.execute("PRAGMA application_id")
        ((version,),) = db.execute("PRAGMA user_version")
        ((tables,),) = db.execute("SELECT COUNT(*) FROM sqlite_schema")
        if tables and application != _APPLICATION_ID:
            raise SinkError(
                f"outbox {self.path}: a database of another program; set outbox.path to a file of its own"
            )
        if version > SCHEMA_VERSION:
            raise SinkError(
                f"outbox {self.path}: written by a newer sound-monitor (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); update sound-monitor or move the file away"
            )
        ((verdict,),) = db.execute("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise _damage(verdict.replace("\n", " "))
        return not tables


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # absent, or SQLite's to tell of
        return 0


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _oldest_time(db: sqlite3.Connection) -> float | None:
    row = db.execute("SELECT put_time FROM events ORDER BY id LIMIT 1").fetchone()
    return row and float(row[0])


def _salvage(path: Path) -> tuple[list[Waiting], dict[str, Lasting]]:
    found = {}
    lasting: dict[str, Lasting] = {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        for query in (_OLDEST_FIRST, _OLDEST_FIRST + " DESC"):  # from both ends up to the damage
            with suppress(sqlite3.Error):
                for id_, put_time, text in db.execute(query):
                    with suppress(ValueError, KeyError, TypeError):
                        found[id_] = Waiting(int(id_), float(put_time), _decode(text))
        with suppress(sqlite3.Error):
            lasting = _read_lasting(db)
    return [found[id_] for id_ in sorted(found)], lasting


def _read_lasting(db: sqlite3.Connection) -> dict[str, Lasting]:
    lasting = {}
    for id_, seen_at, text in db.execute("SELECT id, seen_at, start FROM lasting ORDER BY seen_at"):
        with suppress(ValueError, KeyError, TypeError):
            lasting[str(id_)] = Lasting(_decode(text), float(seen_at))
    return lasting


def _encode(event: Event) -> str:
    return json.dumps(asdict(event))


def _decode(text: str) -> Event:
    fields = json.loads(text)
    return Event(**{**fields, "phase": Phase(fields["phase"]), "reason": Reason(fields["reason"])})
