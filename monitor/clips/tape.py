"""The last seconds of one source, and the takes that are cut from it; pure, exact to the sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.types import AudioBlock

Pcm16 = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Piece:
    """A block as it is kept: 16 bits are what a clip has, and half the memory."""

    position: int
    start_time: float
    samples: Pcm16

    @property
    def end(self) -> int:
        """Position of the sample after the last."""
        return self.position + len(self.samples)


@dataclass(frozen=True, slots=True)
class Judged:
    """A stretch of sound of which is known whether it may be kept; positions count samples of the source."""

    begin: int
    end: int
    wanted: bool


@dataclass(slots=True)
class Take:
    """A stretch of sound around one event; positions count samples of the source."""

    name: str
    rate_hz: int
    begin: int
    limit: int
    """Where it ends at the latest."""
    start_time: float
    """Unix seconds of the sample at `begin`."""
    end: int | None = None
    """None while the event lasts."""
    pieces: list[Piece] = field(default_factory=list)
    judged_until: int = 0
    """Where the newest window that was judged ends."""
    unjudged_from: int | None = None
    """Where sound begins that is in no window that was judged, with such a window behind it."""
    unwanted_from: int | None = None
    """Where the first window begins that must not be in it."""

    @property
    def last(self) -> int:
        """Where it ends, as far as that is known."""
        return self.limit if self.end is None else self.end

    @property
    def end_time(self) -> float:
        """Unix seconds at which it ends, as far as that is known."""
        return self.start_time + (self.last - self.begin) / self.rate_hz

    def judge(self, window: Judged) -> None:
        """Take note of a window; they come in order."""
        if window.end <= self.begin:
            return
        if self.unjudged_from is None and window.begin > self.judged_until:
            self.unjudged_from = self.judged_until
        if self.unwanted_from is None and not window.wanted:
            self.unwanted_from = window.begin
        self.judged_until = window.end

    def samples(self) -> Pcm16:
        """Return the sound; samples that the system lost are zeros."""
        there = max((piece.end for piece in self.pieces), default=self.begin)
        end = min(self.last, there)
        sound = np.zeros(max(end - self.begin, 0), dtype=np.int16)
        for piece in self.pieces:
            first, last = max(piece.position, self.begin), min(piece.end, end)
            if first < last:
                sound[first - self.begin : last - self.begin] = piece.samples[
                    first - piece.position : last - piece.position
                ]
        return sound


class Tape:
    """Keeps `keep_seconds` of a source, and of what is being taken as much as each take wants.

    A take reaches from `pre_seconds` before the event to `post_seconds` behind it, at most `max_seconds`.
    """

    def __init__(
        self, *, keep_seconds: float, pre_seconds: float, post_seconds: float, max_seconds: float
    ) -> None:
        self.keep_seconds = keep_seconds
        self._pre_seconds = pre_seconds
        self._post_seconds = post_seconds
        self._max_seconds = max_seconds
        self._pieces: deque[Piece] = deque()
        self._judged: deque[Judged] = deque()
        self._rate_hz = 1
        self._takes: dict[str, Take] = {}

    def push(self, block: AudioBlock) -> None:
        """Keep a block; the source's samples are counted on from the block before."""
        self._rate_hz = block.rate_hz
        piece = Piece(block.position, block.start_time, to_pcm16(block.samples))
        self._pieces.append(piece)
        oldest = piece.end - round(self.keep_seconds * self._rate_hz)
        while self._pieces and self._pieces[0].end <= oldest:
            self._pieces.popleft()
        for take in self._takes.values():
            if piece.position < take.last:
                take.pieces.append(piece)

    def judge(self, window: Judged) -> None:
        """Let the takes know of a window, also those that will begin in it."""
        for take in self._takes.values():
            take.judge(window)
        self._judged.append(window)
        while self._pieces and self._judged and self._judged[0].end <= self._pieces[0].position:
            self._judged.popleft()

    def forget_judged(self) -> None:
        """Count all that was heard as not judged."""
        self._judged.clear()
        for take in self._takes.values():
            take.unjudged_from = take.begin

    def begin(self, name: str, started_at: float) -> bool:
        """Begin a take for an event that began at `started_at`, Unix seconds; tell whether there is sound.

        It reaches as far back as the tape does, and not over sound that nobody judged before the event.
        """
        if not self._pieces:
            return False
        rate, started = self._rate_hz, self._position(started_at)
        begin = max(self._position(started_at - self._pre_seconds), self._pieces[0].position)
        begin = self._behind_holes(begin, started)
        take = self._takes[name] = Take(
            name=name,
            rate_hz=rate,
            begin=begin,
            limit=begin + round(self._max_seconds * rate),
            start_time=started_at + (begin - started) / rate,
            pieces=[piece for piece in self._pieces if piece.end > begin],
            judged_until=begin,
        )
        for window in self._judged:
            take.judge(window)
        return True

    def end(self, name: str, ended_at: float) -> Take:
        """Let a take end behind its event."""
        take = self._takes[name]
        take.end = min(self._position(ended_at + self._post_seconds), take.limit)
        return take

    def done(self, time: float) -> list[Take]:
        """Give away the takes whose sound has been heard, and scored up to `time`."""
        newest = self._pieces[-1].end if self._pieces else 0
        return self._give(
            take
            for take in self._takes.values()
            if take.end is not None and take.end <= newest and take.end_time <= time
        )

    def close(self) -> list[Take]:
        """Give away all takes as they are, and forget the sound: the source delivers no more."""
        takes = self._give(self._takes.values())
        self._pieces.clear()
        self._judged.clear()
        return takes

    def _give(self, takes: Iterable[Take]) -> list[Take]:
        given = list(takes)
        for take in given:
            del self._takes[take.name]
        return given

    def _behind_holes(self, begin: int, started: int) -> int:
        """Return where sound begins that is judged up to the event: `begin`, or behind the last hole."""
        judged_until = begin
        for window in self._judged:
            if judged_until < window.begin <= started:
                begin = window.begin
            judged_until = max(judged_until, window.end)
        return begin

    def _position(self, time: float) -> int:
        """Return the sample at a time, by the block that it lies in or the nearest."""
        near = next((p for p in reversed(self._pieces) if p.start_time <= time), self._pieces[0])
        return near.position + round((time - near.start_time) * self._rate_hz)


def to_pcm16(samples: NDArray[np.float32]) -> Pcm16:
    """Return samples as integers; those that were 16 bits once are the same again."""
    whole: Pcm16 = np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype(np.int16)
    return whole
