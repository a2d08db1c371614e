"""From a live device's frames to audio blocks: resampled, positioned, dated, gaps marked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.errors import SourceError
from monitor.pcm import Resampler, frozen
from monitor.sources.clock import SampleClock
from monitor.types import AudioBlock, FloatArray

_STEP_SECONDS = 2.0
_EARLY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Now:
    """Both clocks, read together."""

    wall: float
    """Unix seconds; may be set."""
    monotonic: float

    @classmethod
    def read(cls) -> Now:
        """Read the clocks."""
        return cls(time.time(), time.monotonic())


class Timeline:
    """One opening of a live device, from its first sample to its loss.

    Position and time jump at marked gaps only, and time never goes back. When the system clock is set by more
    than 2 s, the timeline ends with a SourceError: the source opens again with the new time, and no event
    starts by one clock and ends by another.

    drop_early is for what a server has kept and sends at once: what comes half a second or more too early is
    left out, so that the rest is the sound of now.
    """

    def __init__(self, source: str, device_hz: int, rate_hz: int, *, drop_early: bool = False) -> None:
        self._source = source
        self._device_hz = device_hz
        self._rate_hz = rate_hz
        self._drop_early = drop_early
        self._resampler = Resampler(device_hz, rate_hz)
        self._clock: SampleClock | None = None
        self._captured = 0  # frames of the device, lost ones included
        self._position = 0  # samples of the next block, lost ones included
        self._gap = False

    def push(
        self, samples: FloatArray, *, captured_at: float, now: Now, lost: int = 0, torn: bool = False
    ) -> list[AudioBlock]:
        """Return the blocks that the device's next samples complete: none, one, or two around a gap.

        captured_at is the monotonic time of the last sample. Before the samples, `lost` frames are missing;
        `torn` says that an unknown number is.
        """
        end = self._captured + lost + len(samples)
        wall = now.wall - (now.monotonic - captured_at)
        if self._clock is None:
            self._clock = SampleClock(self._device_hz, end, wall=wall, monotonic=captured_at)
        step = self._clock.stepped_seconds(wall=wall, monotonic=captured_at)
        if abs(step) > _STEP_SECONDS:
            raise SourceError(f"the system clock was set by {step:+.1f} s; opening anew with the right time")
        early = self._drop_early and self._clock.early_seconds(end, monotonic=captured_at) >= _EARLY_SECONDS
        missing = 0 if early else self._clock.observe(end, wall=wall, monotonic=captured_at)
        blocks: list[AudioBlock] = []
        if early or lost or missing or torn:
            blocks += self._give_out(self._resampler.flush(), self._clock)
            self._captured += lost + missing
            position = round(self._captured * self._rate_hz / self._device_hz)
            self._position = max(self._position, position)
            self._gap = True
        if not early:
            self._captured += len(samples)
            blocks += self._give_out(self._resampler.process(samples), self._clock)
        return blocks

    def early_seconds(self, count: int, *, monotonic: float) -> float:
        """Return how much too early the next `count` samples of the device would be at this time."""
        if self._clock is None:
            return 0.0
        return self._clock.early_seconds(self._captured + count, monotonic=monotonic)

    def _give_out(self, samples: FloatArray, clock: SampleClock) -> Iterator[AudioBlock]:
        if not samples.size:
            return
        yield AudioBlock(
            source=self._source,
            position=self._position,
            rate_hz=self._rate_hz,
            samples=frozen(samples),
            start_time=clock.time_of(self._position * self._device_hz / self._rate_hz),
            gap=self._gap,
        )
        self._position += len(samples)
        self._gap = False
