"""Figures for people, as tables, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from monitor.evaluation.alerts import EARLY_SECONDS, LATE_SECONDS, Tally
from monitor.evaluation.clips import ClipFigures
from monitor.evaluation.figures import Evaluation, Figures

ALERTS_EXPLAINED = (
    f"An alert is right if it starts between {EARLY_SECONDS:g} s before the onset and {LATE_SECONDS:g} s "
    "after the offset\nof an occurrence that has no alert yet. Delays are from the onset to the end of the "
    "window that decided;\nonset and offset of right alerts are off by so much in the median. "
    "Quiet hours are those in which nothing labelled sounds."
)
SCORES_EXPLAINED = (
    "AP, AUC: smoothed score of each hop (at its window's middle) against the labels.\n"
    "PSDS 1, 2: the scenarios of DCASE task 4; over all events the mean less the deviation between them.\n"
    "Event F1: onset within 0.2 s and offset within 0.2 s or a fifth of the length, at the on-threshold."
)


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("event", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def alert_report(evaluation: Evaluation) -> Group:
    """Tell what was published against what sounded."""
    table = _table(
        "on at",
        "sounded",
        "right",
        "false",
        "recall",
        "precision",
        "F1",
        "false/h",
        "quiet\nfalse/h",
        "delay s\nmedian",
        "delay s\n90 %",
        "onset\noff by s",
        "offset\noff by s",
    )
    for name, figures in evaluation.events.items():
        table.add_row(name, *_alert_cells(figures))
    table.add_section()
    table.add_row("all events", *_alert_cells(evaluation.overall), style="bold")
    if evaluation.best_threshold is not None:
        table.add_row("best common on", *_alert_cells(evaluation.best_threshold))
    hours, free_hours = evaluation.overall.hours, evaluation.overall.event_free_hours
    title = f"alerts in {hours:.3g} h of sound, {free_hours:.3g} h of it quiet"
    return Group(title, table, ALERTS_EXPLAINED)


def _alert_cells(figures: Figures) -> list[str]:
    alerts = figures.alerts
    return [
        _number(figures.threshold, ".4g"),
        str(alerts.occurrences),
        str(alerts.right),
        str(alerts.false),
        _number(alerts.recall),
        _number(alerts.precision),
        _number(alerts.f1),
        _number(figures.false_per_hour, ".1f"),
        _number(figures.false_per_event_free_hour, ".1f"),
        _number(alerts.delay(0.5), ".2f"),
        _number(alerts.delay(0.9), ".2f"),
        _number(alerts.onset_error, ".2f"),
        _number(alerts.offset_error, ".2f"),
    ]


def score_report(evaluation: Evaluation) -> Group:
    """Tell how well the scores themselves follow the sound."""
    table = _table("AP", "AUC", "PSDS 1", "PSDS 2", "event F1")
    for name, figures in evaluation.events.items():
        if figures.alerts.occurrences:
            table.add_row(name, *_score_cells(figures))
    table.add_section()
    table.add_row("all events", *_score_cells(evaluation.overall), style="bold")
    return Group("\nscore timeline, events that sounded", table, SCORES_EXPLAINED)


def _score_cells(figures: Figures) -> list[str]:
    values = figures.average_precision, figures.auc, figures.psds1, figures.psds2, figures.event_f1
    return [_number(value) for value in values]


def _alert_fields(tally: Tally) -> dict[str, Any]:
    return {
        "occurrences": tally.occurrences,
        "right": tally.right,
        "false": tally.false,
        "recall": tally.recall,
        "precision": tally.precision,
        "f1": tally.f1,
        "delay_median_seconds": tally.delay(0.5),
        "delay_p90_seconds": tally.delay(0.9),
        "onset_error_median_seconds": tally.onset_error,
        "offset_error_median_seconds": tally.offset_error,
    }


def _fields(figures: Figures) -> dict[str, Any]:
    return {
        "threshold": figures.threshold,
        **_alert_fields(figures.alerts),
        "false_per_hour": figures.false_per_hour,
        "false_per_event_free_hour": figures.false_per_event_free_hour,
        "average_precision": figures.average_precision,
        "auc": figures.auc,
        "psds1": figures.psds1,
        "psds2": figures.psds2,
        "event_f1": figures.event_f1,
    }


def evaluation_fields(evaluation: Evaluation, unknown_labels: Mapping[str, int]) -> dict[str, Any]:
    """Arrange an evaluation for JSON; null where the truth doesn't allow a figure."""
    best = evaluation.best_threshold
    return {
        "hours": evaluation.overall.hours,
        "event_free_hours": evaluation.overall.event_free_hours,
        "overall": _fields(evaluation.overall),
        "best_common_threshold": None
        if best is None
        else {
            "threshold": best.threshold,
            **_alert_fields(best.alerts),
            "false_per_hour": best.false_per_hour,
            "false_per_event_free_hour": best.false_per_event_free_hour,
        },
        "events": {name: _fields(figures) for name, figures in evaluation.events.items()},
        "labels_without_event": dict(unknown_labels),
    }


def clip_report(figures: ClipFigures) -> Group:
    """Tell the accuracy of each event and what it is taken for most."""
    table = _table("clips", "accuracy")
    table.add_column("most often taken for")
    confused = figures.confused()
    for name, (clips, accuracy) in figures.by_event().items():
        others = [f"{other} ({count})" for event, other, count in confused if event == name]
        table.add_row(name, str(clips), f"{accuracy:.3f}", ", ".join(others[:3]))
    table.add_section()
    table.add_row("all events", str(figures.clips), f"{figures.accuracy:.3f}", "", style="bold")
    return Group(f"whole clips, one of {len(figures.events)} events each", table)


def confusion_report(figures: ClipFigures) -> Group:
    """Show every clip: a row per event that sounded, a column per event that it was taken for."""
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("event", no_wrap=True)
    for number in range(1, len(figures.events) + 1):
        table.add_column(str(number), justify="right", no_wrap=True, min_width=3)
    for number, (name, row) in enumerate(zip(figures.events, figures.confusion, strict=True), 1):
        cells = [str(count) if count else "" for count in row.tolist()]
        table.add_row(f"{number:>2} {name}", *cells)
    return Group("rows sounded, columns were told", table)


def clip_fields(figures: ClipFigures, unknown_labels: Mapping[str, int]) -> dict[str, Any]:
    """Arrange clips' figures for JSON; `confusion` has a row per event that sounded."""
    by_event = figures.by_event()
    return {
        "clips": figures.clips,
        "accuracy": figures.accuracy,
        "events": {
            name: {"clips": clips, "accuracy": accuracy} for name, (clips, accuracy) in by_event.items()
        },
        "confusion": {
            name: {
                other: int(count) for other, count in zip(figures.events, row.tolist(), strict=True) if count
            }
            for name, row in zip(figures.events, figures.confusion, strict=True)
            if name in by_event
        },
        "labels_without_event": dict(unknown_labels),
    }
