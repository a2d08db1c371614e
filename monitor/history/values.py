"""What the history is made of: windows with their embeddings, and what these are embeddings of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from monitor.errors import MonitorError

HalfArray = NDArray[np.float16]

_FORMAT = "sound-monitor history 1"
_ALIGNED_BYTES = 64


class HistoryError(MonitorError):
    """What was heard can't be written, read or asked; nothing is lost by asking again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a segment's embeddings are of; rows of different kinds never share a segment."""

    source: str
    """The source's slug; in an index of recordings, the file's path within the folder."""
    encoder: str
    """The encoder's identity: only embeddings of the same one can be compared."""
    model: str
    """`encoder.model` of the configuration, to load it again."""
    window_seconds: float
    hop_seconds: float
    dimension: int
    size: int | None = None
    """Of the recording, in bytes; None for what was heard live."""
    changed_ns: int | None = None
    """When the recording was changed last."""

    def header(self) -> bytes:
        """Return the head of the rows' file: a line of JSON, filled up with spaces."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}).encode()
        return text.ljust(-(-(len(text) + 1) // _ALIGNED_BYTES) * _ALIGNED_BYTES - 1) + b"\n"

    @classmethod
    def of_header(cls, header: bytes) -> Self | None:
        """Read a head; None where it is none of ours, or incomplete."""
        try:
            fields = json.loads(header)
            if not header.endswith(b"\n") or fields.pop("format") != _FORMAT:
                return None
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Rows:
    """Windows of one source in the order in which they were heard; everything has a row each."""

    end_times: NDArray[np.float64]
    """Unix seconds; in an index of recordings, seconds from the beginning."""
    levels_dbfs: NDArray[np.float64]
    begins: NDArray[np.bool_]
    """The first window after the source was opened: what came before is another stretch."""
    embeddings: HalfArray
    """Shape (n, D); zeros for windows that weren't embedded."""

    def __len__(self) -> int:
        return len(self.end_times)

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """Put parts of one source one after the other; there must be one at least."""
        return cls(
            np.concatenate([part.end_times for part in parts]),
            np.concatenate([part.levels_dbfs for part in parts]),
            np.concatenate([part.begins for part in parts]),
            np.concatenate([part.embeddings for part in parts]),
        )

    def part(self, first: int, last: int) -> Rows:
        """Take windows first to last - 1."""
        return Rows(
            self.end_times[first:last],
            self.levels_dbfs[first:last],
            self.begins[first:last],
            self.embeddings[first:last],
        )

    def between(self, since: float, until: float) -> Rows:
        """Take the windows that end in [since, until)."""
        taken = (self.end_times >= since) & (self.end_times < until)
        if taken.all():
            return self
        return Rows(
            self.end_times[taken], self.levels_dbfs[taken], self.begins[taken], self.embeddings[taken]
        )
