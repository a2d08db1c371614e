"""A picture of a search: the score over time, and the moments in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monitor.errors import SinkError, in_words
from monitor.evaluation.plot import drawing
from monitor.past.search import Found, Scored

_COLUMNS, _MOST_ROWS = 1500, 12


def plot_search(found: Found, words: Sequence[str], out: Path, *, recordings: bool) -> None:
    """Draw a row for every source with a moment, the best first; raises SinkError, or MonitorError."""
    matplotlib = drawing()
    sources = list(dict.fromkeys(moment.source for moment in found.moments)) or list(found.scored)
    sources = sources[:_MOST_ROWS]
    figure = matplotlib.figure.Figure(figsize=(12, 1.2 + 1.6 * len(sources)), layout="constrained")
    figure.suptitle(" / ".join(words) or "like the recordings")
    rows = figure.subplots(len(sources), 1, squeeze=False, sharey=True)[:, 0]
    for axes, source in zip(rows, sources, strict=True):
        times, scores = _highest(found.scored[source])
        origin = 0.0 if recordings else float(times[0])
        axes.fill_between((times - origin) / 60.0, scores, step="mid", linewidth=0.5)
        for number, moment in enumerate(found.moments, start=1):
            if moment.source == source:
                at = (moment.peak_time - origin) / 60.0
                axes.plot([at], [moment.score], "v", color="tab:red", markersize=5)
                axes.annotate(str(number), (at, moment.score), ha="center", va="bottom", fontsize=8)
        axes.set_ylim(0.0, 1.1)
        axes.set_ylabel("score")
        axes.set_title(source, loc="left", fontsize=9)
        began = "" if recordings else f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(origin))}"
        axes.set_xlabel(f"minutes{began}", fontsize=8)
    try:
        figure.savefig(out, dpi=110)
    except OSError as error:
        raise SinkError(f"--plot {str(out)!r} can't be written: {in_words(error)}") from None
    except ValueError as error:
        raise SinkError(f"--plot {str(out)!r} can't be drawn: {error}") from None


def _highest(track: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest score of every column of the picture, and its time."""
    if len(track) <= _COLUMNS:
        return track.end_times, track.scores
    edges = np.linspace(0, len(track), _COLUMNS + 1).astype(int)[:-1]
    return track.end_times[edges], np.maximum.reduceat(track.scores, edges)
