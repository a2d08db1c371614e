"""The score timeline as frames on the recording's time axis, and how well it ranks them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.dating import Times
from monitor.evaluation.alerts import Span
from monitor.types import FloatArray


def frame_edges(end_times: Times, window_seconds: float, duration: float) -> Times:
    """Cut a recording into one frame per window, shape (windows + 1,), in seconds.

    A window's score stands for the time around its middle; the first and the last frame reach to the
    recording's ends. Without any window, the recording is one frame.
    """
    middles = end_times - window_seconds / 2
    between = (middles[1:] + middles[:-1]) / 2
    return np.concatenate(([0.0], between, [max(duration, *between[-1:], 1e-3)]))


def frame_truth(edges: Times, occurrences: Sequence[Span]) -> NDArray[np.bool_]:
    """Tell for each frame whether an occurrence touches it."""
    truth = np.zeros(len(edges) - 1, dtype=bool)
    for onset, offset in occurrences:
        truth |= (edges[:-1] < offset) & (edges[1:] > onset)
    return truth


def average_precision(truth: NDArray[np.bool_], scores: FloatArray) -> float | None:
    """Return the sum over thresholds of (gain in recall) x precision; equal scores count together."""
    if not truth.any():
        return None
    right, flagged = _counts(truth, scores)
    recall = right / right[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * right / flagged))


def area_under_roc(truth: NDArray[np.bool_], scores: FloatArray) -> float | None:
    """Return the chance that a frame with the event scores above one without; equal scores count half."""
    if not truth.any() or truth.all():
        return None
    right, flagged = _counts(truth, scores)
    hits = np.concatenate(([0.0], right / right[-1]))
    wrong = flagged - right
    alarms = np.concatenate(([0.0], wrong / wrong[-1]))
    return float(np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]) / 2))


def precision_recall(truth: NDArray[np.bool_], scores: FloatArray) -> tuple[Times, Times]:
    """Return precision and recall at every threshold from the highest score down."""
    right, flagged = _counts(truth, scores)
    return right / flagged, right / max(right[-1], 1.0)


def _counts(truth: NDArray[np.bool_], scores: FloatArray) -> tuple[Times, Times]:
    """Count the frames with the event, and all frames, at or above each distinct score, descending."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    right = np.cumsum(truth[order])[last].astype(np.float64)
    return right, (last + 1).astype(np.float64)
