"""Who watches which source's spectrogram: computed once for all pages, and only while one looks."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from monitor.status import to_json
from monitor.types import AudioBlock
from monitor.web.spectrum import BANDS, COLUMN_SECONDS, Spectrograph

INTERVAL_SECONDS = 0.25
SOURCES_AT_MOST = 32
"""Watched by all pages together; a column takes about 0.1 ms, 20 of them come in a second."""
_LINGERING_SECONDS = 5.0
"""A page that scrolls opens its stream anew, and shall find no gap in what it sees again."""
_WAITING_BLOCKS = 64
_KEPT_SLICES = 24
"""A page that is slower than these 6 s misses some; what it has missed stays blank."""


@dataclass(slots=True)
class _Watched:
    """One source while somebody looks."""

    pages: int = 0
    left_at: float = 0.0
    """When the last page went."""
    blocks: deque[AudioBlock] = field(default_factory=lambda: deque(maxlen=_WAITING_BLOCKS))
    spectrograph: Spectrograph | None = None
    slices: deque[bytes] = field(default_factory=lambda: deque(maxlen=_KEPT_SLICES))
    made: int = 0
    """Slices so far, those that aren't kept any more included."""

    @property
    def has_heard(self) -> bool:
        """Whether any sound has come."""
        return bool(self.blocks) or self.spectrograph is not None

    def advance(self, name: str, blocks: list[AudioBlock]) -> list[bytes]:
        """Make the slices of what has been heard; runs in a thread."""
        made = []
        if self.spectrograph is None or self.spectrograph.rate_hz != blocks[-1].rate_hz:
            self.spectrograph = Spectrograph(blocks[-1].rate_hz)
        for first, columns in self.spectrograph.push(blocks):
            data = base64.b64encode(columns.tobytes()).decode("ascii")
            fields = {
                "source": name,
                "first": first,
                "bands": BANDS,
                "seconds": COLUMN_SECONDS,
                "data": data,
            }
            made.append(f"event: columns\ndata: {to_json(fields)}\n\n".encode())
        return made


class Spectrograms:
    """Takes every source's sound, and makes spectrograms of what is watched."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._advancing = asyncio.Lock()
        self._advanced_at = float("-inf")

    @property
    def watched(self) -> set[str]:
        """The sources that some page watches."""
        return {name for name, each in self._watched.items() if each.pages}

    def heard(self, block: AudioBlock) -> None:
        """Keep a block for the next slice, where somebody watches its source."""
        watched = self._watched.get(block.source)
        if watched is None:
            return
        if self._is_over(watched):
            del self._watched[block.source]
        else:
            watched.blocks.append(block)

    def _is_over(self, watched: _Watched) -> bool:
        return not watched.pages and (
            not watched.has_heard or self._clock() - watched.left_at > _LINGERING_SECONDS
        )

    @contextmanager
    def watch(self, sources: Iterable[str]) -> Iterator[Watcher]:
        """Have the sources' spectrograms made for as long as the block lasts; over the limit, not all."""
        taken: dict[str, _Watched] = {}
        watched = self.watched
        for name in sources:
            if name in watched or len(watched) < SOURCES_AT_MOST:
                watched.add(name)
                taken[name] = self._watched.setdefault(name, _Watched())
        for each in taken.values():
            each.pages += 1
        try:
            yield Watcher(self, taken)
        finally:
            for each in taken.values():
                each.pages -= 1
                each.left_at = self._clock()
            # Those that are heard no more too: a source that a reload removed, a name that none has.
            for name in [name for name, each in self._watched.items() if self._is_over(each)]:
                del self._watched[name]

    async def advance(self) -> None:
        """Make the slices that are due; all who ask within the interval share them."""
        async with self._advancing:
            if self._clock() - self._advanced_at < 0.9 * INTERVAL_SECONDS:
                return
            self._advanced_at = self._clock()
            work = [
                (name, each, [each.blocks.popleft() for _ in range(len(each.blocks))])
                for name, each in self._watched.items()
                if each.blocks
            ]
            if not work:
                return
            made = await asyncio.to_thread(lambda: [each.advance(name, new) for name, each, new in work])
            for (_, each, _), slices in zip(work, made, strict=True):
                each.slices.extend(slices)
                each.made += len(slices)


class Watcher:
    """One page's view of the spectrograms."""

    def __init__(self, spectrograms: Spectrograms, watched: dict[str, _Watched]) -> None:
        self._spectrograms = spectrograms
        self._watched = watched
        self._seen = dict.fromkeys(watched, 0)

    @property
    def watches(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._watched)

    async def next(self) -> bytes:
        """Return what this page hasn't had yet, as server-sent events; the oldest may be missing."""
        await self._spectrograms.advance()
        new = []
        for name, each in self._watched.items():
            missed = min(each.made - self._seen[name], len(each.slices))
            new.extend(list(each.slices)[len(each.slices) - missed :])
            self._seen[name] = each.made
        return b"".join(new)
