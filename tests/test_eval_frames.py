"""Frames on the time axis, and the areas under their curves against scikit-learn's."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.evaluation.frames import (
    area_under_roc,
    average_precision,
    frame_edges,
    frame_truth,
    precision_recall,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sklearn.metrics import average_precision_score, roc_auc_score


def test_a_frame_lies_around_its_windows_middle_and_the_outer_ones_reach_the_ends():
    edges = frame_edges(np.array([2.0, 2.5, 3.0]), 2.0, 3.4)
    assert edges.tolist() == [0.0, 1.25, 1.75, 3.4]


def test_a_recording_shorter_than_a_window_is_one_frame():
    assert frame_edges(np.zeros(0), 2.0, 0.7).tolist() == [0.0, 0.7]


def test_the_last_frame_ends_with_the_recording_though_its_window_reaches_further():
    assert frame_edges(np.array([2.0, 2.5]), 2.0, 2.1).tolist() == [0.0, 1.25, 2.1]


def test_frames_that_an_occurrence_touches_are_true_so_that_no_short_one_is_lost():
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    assert frame_truth(edges, [(1.2, 1.3)]).tolist() == [False, True, False]
    assert frame_truth(edges, [(0.5, 1.0), (2.9, 3.0)]).tolist() == [True, False, True]
    assert frame_truth(edges, []).tolist() == [False, False, False]


def test_areas_have_known_values():
    truth = np.array([True, False, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.1], dtype=np.float32)
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert area_under_roc(truth, scores) == pytest.approx(0.75)
    assert area_under_roc(truth, np.ones(4, dtype=np.float32)) == pytest.approx(0.5)


def test_without_the_event_or_without_anything_else_there_is_no_area():
    scores = np.array([0.5, 0.6], dtype=np.float32)
    assert average_precision(np.zeros(2, dtype=bool), scores) is None
    assert area_under_roc(np.zeros(2, dtype=bool), scores) is None
    assert area_under_roc(np.ones(2, dtype=bool), scores) is None
    assert average_precision(np.ones(2, dtype=bool), scores) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60))
def test_areas_equal_scikit_learns_for_any_scores_with_ties(frames):
    truth = np.array([event for event, _ in frames])
    scores = np.array([score / 8 for _, score in frames], dtype=np.float32)
    assume(truth.any() and not truth.all())
    assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))
    assert area_under_roc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))


def test_the_precision_recall_curve_ends_with_everything_recalled():
    precision, recall = precision_recall(np.array([True, False]), np.array([0.2, 0.9], dtype=np.float32))
    assert recall.tolist() == [0.0, 1.0]
    assert precision.tolist() == [0.0, 0.5]
