"""Scores from embeddings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Config
from monitor.heads import Head, normalise, prompts_of

DIMENSION = 32


def embed(texts):
    return {
        text: normalise(
            np.random.default_rng(sum(text.encode())).standard_normal(DIMENSION).astype(np.float32)
        )
        for text in texts
    }


def config(events, **more):
    return Config.model_validate(
        {
            "sources": {"hall": {"type": "microphone"}},
            "events": events,
            "background": ["silence", "talk"],
            **more,
        }
    )


def head(events, **more):
    made = config(events, **more)
    return Head.build(made, embed(prompts_of(made)), 20.0)


def audio(count, seed=0):
    return normalise(np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32))


EVENTS = {"dog": {"prompts": ["a dog", "barking"], "negatives": ["a fox"]}, "bell": "a bell", "rain": "rain"}


def test_independent_score_is_the_softmax_against_negatives_and_background():
    made = config(EVENTS)
    texts = embed(prompts_of(made))
    x = audio(5)
    dog = normalise(texts["a dog"] + texts["barking"])
    logits = 20.0 * x @ np.stack([dog, texts["a fox"], texts["silence"], texts["talk"]]).T
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    assert head(EVENTS).score(x)[:, 0] == pytest.approx(expected, rel=1e-5)


@given(extra=st.integers(1, 40), seed=st.integers(0, 100))
@settings(max_examples=25)
def test_adding_events_moves_no_score(extra, seed):
    more = EVENTS | {f"other_{index}": f"sound number {index}" for index in range(extra)}
    x = audio(4, seed)
    assert head(more).score(x)[:, :3] == pytest.approx(head(EVENTS).score(x), abs=1e-6)


def test_exclusive_scores_are_one_softmax_over_all_prompts():
    made = config({"dog": "a dog", "bell": "a bell", "rain": "rain"}, scoring="exclusive")
    texts = embed(prompts_of(made))
    x = audio(6)
    logits = np.exp(20.0 * x @ np.stack([texts["a dog"], texts["a bell"], texts["rain"]]).T)
    scores = Head.build(made, texts, 20.0).score(x)
    assert scores == pytest.approx(logits / logits.sum(axis=1, keepdims=True), rel=1e-5)


def test_exclusive_scores_sum_an_events_prompts_and_add_up_to_one():
    scores = head(EVENTS, scoring="exclusive").score(audio(6))
    assert scores.shape == (6, 3)
    assert scores.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-6)


@pytest.mark.parametrize("scoring", ["independent", "exclusive"])
def test_an_undefined_embedding_scores_nothing(scoring):
    x = audio(3)
    x[1] = 0.0
    scores = head(EVENTS, scoring=scoring).score(x)
    assert scores[1].tolist() == [0.0, 0.0, 0.0]
    assert (scores[[0, 2]] > 0).all()


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 200))
def test_scores_are_probabilities_at_any_scale(seed, scale):
    made = config(EVENTS)
    scores = Head.build(made, embed(prompts_of(made)), scale).score(audio(3, seed))
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_negative_lowers_its_own_event_only():
    with_negative = head(EVENTS).score(audio(8))
    without = head(EVENTS | {"dog": {"prompts": ["a dog", "barking"]}}).score(audio(8))
    assert (with_negative[:, 0] < without[:, 0]).all()
    assert with_negative[:, 1:] == pytest.approx(without[:, 1:], abs=1e-7)
