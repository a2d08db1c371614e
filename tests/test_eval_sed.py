"""The field's figures where the library that computes them has a corner."""

import numpy as np
import pytest

from monitor.evaluation.sed import ScoredFile, sed_figures

EDGES = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
HEARD = np.array([0.1, 0.9, 0.8, 0.1], dtype=np.float32)


def scored(*columns, occurrences):
    return ScoredFile(EDGES, np.stack(columns, axis=1), occurrences)


def test_one_event_alone_has_all_figures():
    file = scored(HEARD, occurrences=[("bell", (1.0, 3.0))])
    figures = sed_figures({"a": file}, ["bell"], {"bell": 0.5})
    assert figures.psds == pytest.approx((1.0, 1.0))
    assert figures.event_f1 == pytest.approx(1.0)


def test_one_event_that_is_found_elsewhere_has_less_of_them():
    file = scored(HEARD[[1, 0, 3, 2]], occurrences=[("bell", (1.0, 3.0))])
    figures = sed_figures({"a": file}, ["bell"], {"bell": 0.5})
    assert figures.psds[0] == 0.0
    assert figures.event_f1 == 0.0


def test_of_several_events_those_that_occur_are_judged():
    file = scored(HEARD, HEARD, occurrences=[("dog", (1.0, 3.0))])
    figures = sed_figures({"a": file}, ["bell", "dog"], {"bell": 0.5, "dog": 0.5})
    assert list(figures.event_f1_by_event) == ["dog"]
    assert figures.psds == pytest.approx((1.0, 1.0))
