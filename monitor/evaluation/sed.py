"""The field's own figures, by the `sed_scores_eval` library: PSDS and event-based F1."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.dating import Times
from monitor.errors import MonitorError
from monitor.evaluation.alerts import Span, merged
from monitor.types import FloatArray

# The settings of DCASE's task 4 since 2021.
_PSDS = {"unit_of_time": "hour", "max_efpr": 100.0, "alpha_st": 1.0}
PSDS_SCENARIOS: tuple[Mapping[str, Any], ...] = (
    {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0, **_PSDS},
    {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5, **_PSDS},
)
"""1 asks for exact times, 2 for the right one of several classes."""
COLLARS: Mapping[str, float] = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
"""An event is right if onset and offset are within 0.2 s, the offset within a fifth of its length."""


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """One recording on its own time axis."""

    edges: Times
    """Shape (frames + 1,): frame borders in seconds, the last is the duration."""
    scores: FloatArray
    """Shape (frames, events)."""
    occurrences: Sequence[tuple[str, Span]]


@dataclass(frozen=True, slots=True)
class SedFigures:
    """Figures of all events together and by event."""

    psds: tuple[float, float]
    """Scenario 1 and 2, 0..1."""
    psds_by_event: tuple[Mapping[str, float], Mapping[str, float]]
    event_f1: float
    """Mean over the events, at each event's on-threshold."""
    event_f1_by_event: Mapping[str, float]


def library() -> Any:
    """Import sed_scores_eval; raises MonitorError with the remedy."""
    try:
        with warnings.catch_warnings():
            # A library below it still imports pkg_resources, which warns every user about it.
            warnings.simplefilter("ignore")
            import sed_scores_eval  # noqa: PLC0415
    except ImportError as error:
        raise MonitorError(
            f"eval needs {error.name or 'sed_scores_eval'}; pip install 'sound-monitor[eval]'"
        ) from None
    return sed_scores_eval


def inputs(
    files: Mapping[str, ScoredFile], events: Sequence[str], judged: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[tuple[float, float, str]]], dict[str, float]]:
    """Arrange score frames, ground truth and durations, by file, as the library takes them.

    `events` names the columns, of which `judged`, those that occur, are used. Occurrences of one event
    that touch are one.
    """
    frame = library().base_modules.scores.create_score_dataframe
    columns = [events.index(name) for name in judged]
    scores, truth, durations = {}, {}, {}
    for name, file in files.items():
        scores[name] = frame(file.scores[:, columns].astype(float), file.edges, list(judged))
        durations[name] = float(file.edges[-1])
        truth[name] = [
            (onset, min(offset, durations[name]), event)
            for event in judged
            for onset, offset in merged(span for label, span in file.occurrences if label == event)
        ]
    return scores, truth, durations


def sed_figures(
    files: Mapping[str, ScoredFile], events: Sequence[str], thresholds: Mapping[str, float]
) -> SedFigures:
    """Compute the figures over the events that occur; at least one must."""
    occurring = {label for file in files.values() for label, _ in file.occurrences}
    judged = [name for name in events if name in occurring]
    scores, truth, durations = inputs(files, events, judged)
    evaluate = library()
    # One event alone can't be taken for another; the library fails where it looks for others all the same.
    alone = {"cttc_threshold": None, "alpha_ct": 0.0} if len(judged) == 1 else {}
    results = [
        evaluate.intersection_based.psds(scores, truth, durations, **{**scenario, **alone})
        for scenario in PSDS_SCENARIOS
    ]
    # The library fires above a threshold, the monitor at it.
    below = {name: thresholds[name] * (1 - 1e-9) for name in judged}
    f1, _, _, _ = evaluate.collar_based.fscore(scores, truth, threshold=below, **COLLARS)
    first, second = (
        ({name: float(by_event[name]) for name in judged}, float(value)) for value, by_event, *_ in results
    )
    return SedFigures(
        psds=(first[1], second[1]),
        psds_by_event=(first[0], second[0]),
        event_f1=sum(float(f1[name]) for name in judged) / len(judged),
        event_f1_by_event={name: float(f1[name]) for name in judged},
    )
