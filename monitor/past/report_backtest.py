"""What `backtest` says: per event, what would have been told, against what was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from monitor.config import Config
from monitor.evaluation.thresholds import Proposal, propose
from monitor.past.backtest import Difference, Trial, compare
from monitor.past.report import clock
from monitor.types import Event

BINS = 20
"""Of a histogram: smoothed scores from 0 to 1."""
_BARS = " ▁▂▃▄▅▆▇█"
_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """One event on the whole history."""

    now: int
    """Occurrences."""
    difference: Difference
    highest: float
    histogram: tuple[int, ...]
    """Windows by smoothed score, in BINS equal steps from 0 to 1."""
    proposal: Proposal | None
    """Thresholds for the wanted rate; None where nothing listens for the event."""


def summarise(config: Config, trial: Trial, false_per_day: float) -> dict[str, Summary]:
    """Sum up every event."""
    proposals = propose(config, trial.timelines, false_per_day)
    summaries = {}
    for index, name in enumerate(config.events):
        counts, highest = np.zeros(BINS, dtype=np.int64), 0.0
        for timeline in trial.timelines:
            smooth = timeline.smooth[:, index]
            heard = smooth[~np.isnan(smooth)]
            counts += np.histogram(heard, BINS, (0.0, 1.0))[0]
            highest = max(highest, float(heard.max(initial=0.0)))
        now = sum(event.name == name for event in trial.occurrences)
        summaries[name] = Summary(
            now, compare(name, trial), highest, tuple(counts.tolist()), proposals.get(name)
        )
    return summaries


def nothing_tried(trial: Trial, *, of_recordings: bool) -> str:
    """Say why there was nothing to try."""
    if trial.foreign:
        remedy = "index the recordings with --config and this file" if of_recordings else "give it those"
        left_out = " ".join(_foreign(trial))
        return f"nothing that this configuration can be tried on. {left_out} Remedy: {remedy}."
    return "nothing was heard in that time; give another --since, --until or --source"


def _foreign(trial: Trial) -> list[str]:
    return [
        f"Left out: {hours:.3g} h of {what}; the configuration has others."
        for what, hours in trial.foreign.items()
    ]


def print_trial(trial: Trial, summaries: Mapping[str, Summary], false_per_day: float) -> None:
    """Print a table of the events, what is new and what is missing, and how fast it went."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("event", no_wrap=True)
    for column in ("now", "then", "both", "new", "gone", "highest", f"for {false_per_day:g}/day"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"windows by score, 0 to 1 in {BINS} steps (log)", no_wrap=True)
    for name, each in summaries.items():
        gone = len(each.difference.only_then)
        table.add_row(
            name,
            str(each.now),
            str(each.difference.then),
            str(each.difference.both),
            str(len(each.difference.only_now)),
            str(gone),
            f"{each.highest:.3f}",
            "-" if each.proposal is None else f"{each.proposal.on_threshold:.4g}",
            f"|{_bars(each.histogram)}|",
        )
    console = Console()
    console.width = max(console.width, 120)
    console.print(table, highlight=False, markup=False)
    for line in _lines(trial, summaries):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _lines(trial: Trial, summaries: Mapping[str, Summary]) -> list[str]:
    new = [event for each in summaries.values() for event in each.difference.only_now]
    gone = [event for each in summaries.values() for event in each.difference.only_then]
    lines = [
        f"new:  {clock(event.started_at)}  {event.source}: {event.name} for "
        f"{(event.ended_at or event.started_at) - event.started_at:.1f} s, peak {event.peak_score:.3f}"
        for event in sorted(new, key=lambda event: event.started_at)[:_MOST_LINES]
    ]
    lines += [
        f"gone: {clock(event['started_at'])}  {event['source']}: {event['event']}, "
        f"peak {event['score']:.3f} then"
        for event in sorted(gone, key=lambda event: float(event["started_at"]))[:_MOST_LINES]
    ]
    if len(lines) < len(new) + len(gone):
        lines.append(f"... {len(new) + len(gone) - len(lines)} more; --json has all")
    if trial.unscored:
        lines.append(
            f"{trial.unscored} windows that this configuration would score have no embedding: they were "
            "below the level gate then in force, switched off or outside its hours."
        )
    lines += _foreign(trial)
    lines.append(
        f"Tried on {trial.hours:.3g} h, {trial.windows} windows, in {trial.work_seconds:.1f} s: "
        f"{trial.minutes_per_second:.0f} minutes of history per second."
    )
    return lines


def _bars(counts: tuple[int, ...]) -> str:
    """Draw counts by their logarithm: one window in a week is to be seen."""
    most = math.log1p(max(counts, default=0)) or 1.0
    steps = len(_BARS) - 1
    return "".join(_BARS[math.ceil(math.log1p(count) / most * steps)] for count in counts)


def as_json(trial: Trial, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Return everything, each occurrence with its times and score."""
    return {
        "hours": round(trial.hours, 4),
        "windows": trial.windows,
        "work_seconds": round(trial.work_seconds, 3),
        "minutes_per_second": round(trial.minutes_per_second, 1),
        "left_out_hours": {what: round(hours, 4) for what, hours in trial.foreign.items()},
        "windows_without_embedding": trial.unscored,
        "events": {name: _summary_as_json(each) for name, each in summaries.items()},
        "occurrences": [_occurrence(event) for event in trial.occurrences],
    }


def _summary_as_json(each: Summary) -> dict[str, Any]:
    rate = each.proposal.false_per_day if each.proposal else None
    return {
        "now": each.now,
        "then": each.difference.then,
        "both": each.difference.both,
        "new": [_occurrence(event) for event in each.difference.only_now],
        "gone": [dict(event) for event in each.difference.only_then],
        "highest": round(each.highest, 6),
        "histogram": list(each.histogram),
        "on_threshold": each.proposal.on_threshold if each.proposal else None,
        "off_threshold": each.proposal.off_threshold if each.proposal else None,
        "expected_per_day": None if rate is None else round(rate.expected, 6),
    }


def _occurrence(event: Event) -> dict[str, Any]:
    return {
        "source": event.source,
        "event": event.name,
        "started_at": event.started_at,
        "ended_at": event.ended_at,
        "score": event.peak_score,
        "threshold": event.threshold,
        "reason": event.reason.value,
    }
