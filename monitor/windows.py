"""Cutting one source's blocks into overlapping windows of fixed length, exact to the sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from monitor.pcm import level_dbfs
from monitor.types import AudioBlock, Window


class WindowCutter:
    """A ring buffer of one source; the same samples give the same windows however they are cut into blocks.

    Windows start at multiples of the hop, counted from the source's first sample or the first after a gap.
    """

    def __init__(self, source: str, rate_hz: int, window_seconds: float, hop_seconds: float) -> None:
        self._source = source
        self._rate_hz = rate_hz
        self._window = round(window_seconds * rate_hz)
        self._hop = round(hop_seconds * rate_hz)
        if not 0 < self._hop <= self._window:
            msg = f"hop of {self._hop} samples does not fit into a window of {self._window}"
            raise ValueError(msg)
        # Twice the window, so that samples are moved once a window and not once a hop.
        self._buffer = np.empty(2 * self._window, dtype=np.float32)
        self._restart()
        self._position = 0
        self._last_time = 0.0

    def push(self, block: AudioBlock) -> Iterator[Window]:
        """Take a block and yield the windows that it completes, oldest first."""
        if block.rate_hz != self._rate_hz or block.source != self._source:
            msg = (
                f"block of {block.source} at {block.rate_hz} Hz given to {self._source} at {self._rate_hz} Hz"
            )
            raise ValueError(msg)
        if block.gap or block.position != self._position:
            self._restart()
        taken = 0
        while taken < len(block.samples):
            if self._next_start >= self._window:
                self._compact()
            count = min(len(block.samples) - taken, self._next_start + self._window - self._end)
            self._buffer[self._end : self._end + count] = block.samples[taken : taken + count]
            self._end += count
            taken += count
            self._position = block.position + taken
            if self._end == self._next_start + self._window:
                yield self._cut(block.start_time + taken / self._rate_hz)
                self._next_start += self._hop
                self._cut_any = True
        self._last_time = block.start_time + len(block.samples) / self._rate_hz

    def flush(self) -> Iterator[Window]:
        """Yield a last window, filled up with silence, where the end of the audio is in none yet."""
        held = self._end - self._next_start
        overlap = self._window - self._hop if self._cut_any else 0
        if held <= overlap:
            return
        missing = self._window - held
        if self._end + missing > len(self._buffer):
            self._compact()
        level = level_dbfs(self._buffer[self._end - min(held, self._fresh) : self._end])
        self._buffer[self._end : self._end + missing] = 0.0
        self._end += missing
        self._position += missing
        yield replace(self._cut(self._last_time + missing / self._rate_hz), level_dbfs=level)
        self._restart()

    @property
    def _fresh(self) -> int:
        """Return how many of a window's samples were in none before it."""
        return self._hop if self._cut_any else self._window

    def _restart(self) -> None:
        self._end = 0
        self._next_start = 0
        self._cut_any = False

    def _compact(self) -> None:
        kept = self._end - self._next_start
        self._buffer[:kept] = self._buffer[self._next_start : self._end]
        self._end = kept
        self._next_start = 0

    def _cut(self, end_time: float) -> Window:
        samples = self._buffer[self._next_start : self._end].copy()
        level = level_dbfs(samples[-self._fresh :])
        samples.flags.writeable = False
        return Window(
            source=self._source,
            position=self._position - self._window,
            rate_hz=self._rate_hz,
            samples=samples,
            start_time=end_time - self._window / self._rate_hz,
            end_time=end_time,
            level_dbfs=level,
        )
