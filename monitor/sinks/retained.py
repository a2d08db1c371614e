"""What the broker is to hold for the monitor, and what it may still hold from before."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from monitor.files import replace_file
from monitor.sinks.connection import Message

_log = logging.getLogger(__name__)


class Retained:
    """The newest payload for each topic, those that the broker hasn't been told, and every topic it may hold.

    The last outlives the process in a file: what left the configuration while the daemon was stopped can only
    be removed from the broker by someone who knows that it was there.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Without a path, nothing is remembered; `load` reads what is there."""
        self._path = path
        self._payloads: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._known: set[str] = set()
        self._unsaved = False
        self._wanted: frozenset[str] | None = None
        self._failing = False

    def load(self) -> None:
        """Read which topics the broker may hold; blocks. A damaged file is told and taken for none."""
        if self._path is None:
            return
        try:
            self._known |= _parsed(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning(
                "%s: can't be read (%s); what has left the configuration may stay with the broker",
                *(self._path, error),
            )

    def want(self, topics: Iterable[str]) -> None:
        """Have the broker hold nothing but these from now on; what they carry is told by `set`."""
        self._wanted = frozenset(topics)
        for topic in sorted((set(self._payloads) | self._known) - self._wanted):
            self.set(topic, b"")

    def set(self, topic: str, payload: bytes) -> bool:
        """Have the broker hold a payload, where the topic is wanted; return whether that is news."""
        if self._wanted is not None and topic not in self._wanted:
            payload = b""
        if self._payloads.get(topic, None if topic in self._known else b"") == payload:
            return False
        self._payloads[topic] = payload
        self._dirty[topic] = None
        if payload:
            self._know(topic)
        return True

    def resend(self) -> None:
        """Take everything for untold: the broker, or who listens there, may have forgotten it."""
        self._dirty = dict.fromkeys(self._payloads)

    @property
    def untold(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._dirty)

    def take(self, most: int) -> list[Message]:
        """Return what is to be sent next, oldest first, as it is now."""
        topics = list(islice(self._dirty, most))
        for topic in topics:
            del self._dirty[topic]
        return [Message(topic, self._payloads[topic], retained=True) for topic in topics]

    async def remember(self, *others: str) -> None:
        """Write down what the broker may get to hold, before it does."""
        for topic in others:
            self._know(topic)
        await self._save()

    async def acknowledged(self, messages: Iterable[Message]) -> None:
        """Forget what the broker has removed."""
        for message in messages:
            if not message.payload and self._payloads.get(message.topic) == b"":
                del self._payloads[message.topic]
                self._dirty.pop(message.topic, None)
                self._known.discard(message.topic)
                self._unsaved = True
        await self._save()

    async def _save(self) -> None:
        if self._path is None or not self._unsaved:
            return
        text = json.dumps({"topics": sorted(self._known)}) + "\n"
        self._unsaved = False
        try:
            await asyncio.to_thread(replace_file, self._path, text)
        except OSError as error:
            level = logging.DEBUG if self._failing else logging.WARNING
            _log.log(level, "%s: can't be written (%s); trying again", self._path, error.strerror)
            self._unsaved = self._failing = True
        else:
            self._failing = False

    def _know(self, topic: str) -> None:
        if topic not in self._known:
            self._known.add(topic)
            self._unsaved = True


def _parsed(text: str) -> frozenset[str]:
    match json.loads(text):
        case {"topics": [*topics]} if all(isinstance(topic, str) and _is_topic(topic) for topic in topics):
            return frozenset(topics)
    raise ValueError('is not {"topics": ["prefix/source/event/state", ...]}')


def _is_topic(text: str) -> bool:
    return bool(text) and not set("+#\0") & set(text)
