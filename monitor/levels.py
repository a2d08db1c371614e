"""How loud a sound is, as a score from 0 to 1, so that loudness is decided on as everything else is."""

from __future__ import annotations

FLOOR_DBFS = -100.0
"""Scores 0; full scale, 0 dBFS, scores 1, and a hundredth is a decibel."""


def level_score(level_dbfs: float) -> float:
    """Return the score of a level; minus infinity is fine."""
    return min(max(1.0 - level_dbfs / FLOOR_DBFS, 0.0), 1.0)


def level_dbfs_of(score: float) -> float:
    """Return the level that has this score."""
    return (1.0 - score) * FLOOR_DBFS
