"""The values that flow through the monitor, from a microphone's samples to a published event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """Consecutive mono samples of one source."""

    source: str
    """The source's slug."""
    position: int
    """Samples since the source was opened; the sample count is the clock."""
    rate_hz: int
    samples: FloatArray
    """Shape (n,), full scale is 1.0, read-only."""
    start_time: float
    """Unix seconds of the first sample: the source's anchor + position / rate_hz."""
    gap: bool = False
    """Samples were lost, or the source was reopened, between the block before and this one."""


@dataclass(frozen=True, slots=True)
class Window:
    """A fixed length of one source's audio; never spans a gap."""

    source: str
    position: int
    """Position of the first sample on the source's sample clock."""
    rate_hz: int
    samples: FloatArray
    """Shape (window_seconds * rate_hz,), read-only."""
    start_time: float
    """Unix seconds."""
    end_time: float
    """Unix seconds of the sample after the last."""
    level_dbfs: float
    """Level of what is new in it, 20 log10(RMS), full scale 1.0; -inf for digital silence.

    That is the newest hop of audio; of a first window, all of it.
    """


@dataclass(frozen=True, slots=True)
class Scores:
    """One probability per configured event for one window."""

    source: str
    start_time: float
    end_time: float
    level_dbfs: float
    values: FloatArray
    """Shape (events,), 0..1, aligned to the configured events."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What one event of one source looks like now: for the page, the gauges and the console."""

    source: str
    event: str
    raw: float
    smooth: float
    active: bool
    since: float | None
    """Unix seconds at which the event became active; None while it isn't."""
    enabled: bool = True
    """The position of its own switch; nothing is detected either while its source's is off."""


class Phase(StrEnum):
    """The two messages that an occurrence gives."""

    START = "start"
    END = "end"


class Reason(StrEnum):
    """Why an event began or ended."""

    THRESHOLD = "threshold"
    MAX_DURATION = "max_duration"
    SOURCE_LOST = "source_lost"
    DISABLED = "disabled"
    SCHEDULE = "schedule"
    SHUTDOWN = "shutdown"
    RELOAD = "reload"
    RESTART = "restart"
    """The process died while the event lasted; the next one tells its end."""


@dataclass(frozen=True, slots=True)
class Event:
    """A published start or end of an occurrence."""

    id: str
    """The same for start and end, and for a repeated delivery; drop duplicates by (id, phase)."""
    source: str
    name: str
    phase: Phase
    started_at: float
    """Unix seconds."""
    ended_at: float | None
    """Unix seconds; None while the event lasts."""
    peak_score: float
    """Highest smoothed score so far, 0..1."""
    threshold: float
    """The on-threshold in force when the event began."""
    reason: Reason
    clip: str | None = None


class Source(Protocol):
    """Audio of one microphone or file: an async context manager that yields blocks once entered."""

    name: str

    @property
    def problem(self) -> str | None:
        """What is wrong though audio arrives, such as a muted input; None while all is well."""

    @property
    def overflows(self) -> int:
        """How many times samples were lost since the source was opened."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[AudioBlock]: ...


class Encoder(Protocol):
    """Audio in, embedding out; text in, embedding out.

    One thread must load it and embed all sounds; another may embed texts meanwhile.
    """

    identity: str
    """Model name and version; embeddings of different identities don't mix."""
    device: str
    """Where it runs, such as `cpu` or `cuda:0`."""
    rate_hz: int
    max_window_seconds: float
    logit_scale: float
    """Scale of the cosines in a softmax, the model's own."""

    def embed_audio(self, windows: Sequence[Window]) -> FloatArray:
        """Return unit-length embeddings, shape (len(windows), D); zero rows for undefined audio."""

    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(prompts), D)."""
