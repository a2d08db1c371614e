"""Scores from embeddings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Config
from monitor.heads import Head, prompts_of
from monitor.prototypes import AudioPrototype, normalise

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


UNRELATED = audio(40, seed=9)


def taught(events, examples):
    made = config(events)
    heard = {name: AudioPrototype.of(rows, UNRELATED) for name, rows in examples.items()}
    return Head.build(made, embed(prompts_of(made)), 20.0, heard, UNRELATED)


def near(direction, count, seed=1):
    return normalise(direction + 0.03 * np.random.default_rng(seed).standard_normal((count, DIMENSION)))


TUNE = audio(1, seed=77)[0]
EXAMPLES_ONLY = {"tune": {"examples": ["a.wav", "b.wav", "c.wav"]}}


def test_examples_alone_make_an_event():
    made = taught(EXAMPLES_ONLY, {"tune": near(TUNE, 3)})
    assert made.score(near(TUNE, 5, seed=2)).min() > 0.8
    assert np.median(made.score(audio(50, seed=3))) < 0.1


def test_examples_lift_prompts_that_do_not_know_the_sound():
    events = {"tune": {"prompts": "rain", "examples": ["a.wav"]}}
    x = near(TUNE, 5, seed=2)
    lifted, worded = taught(events, {"tune": near(TUNE, 3)}).score(x), head(events).score(x)
    assert (lifted > worded).all()
    assert lifted.mean() > worded.mean() + 0.2


def test_examples_add_little_to_prompts_that_know_the_sound():
    events = {"bell": {"prompts": "a bell", "examples": ["a.wav"]}}
    bell = embed(["a bell"])["a bell"]
    made = taught(events, {"bell": near(bell, 3)})
    assert made.heard[0][1] < 0.05
    x = audio(20)
    assert made.score(x) == pytest.approx(head(events).score(x), abs=0.05)


@given(extra=st.integers(1, 10), seed=st.integers(0, 100))
@settings(max_examples=20)
def test_events_with_examples_move_no_other_score_and_are_not_moved(extra, seed):
    rows = near(TUNE, 3)
    both = {"tune": {"prompts": "a tune", "examples": ["a.wav"]}, "bell": "a bell"}
    more = both | {f"other_{i}": {"examples": ["x.wav"]} for i in range(extra)} | {"rain": "rain"}
    others = {f"other_{i}": audio(2, seed + i) for i in range(extra)}
    x = audio(4, seed)
    fewer = taught(both, {"tune": rows}).score(x)
    assert taught(more, {"tune": rows} | others).score(x)[:, :2] == pytest.approx(fewer, abs=1e-6)
    assert head({"bell": "a bell"}).score(x)[:, 0] == pytest.approx(fewer[:, 1], abs=1e-6)


def test_negatives_take_from_an_event_of_examples_only():
    against = {"tune": EXAMPLES_ONLY["tune"] | {"negatives": ["a fox"]}}
    x = normalise(near(TUNE, 3, seed=2) + embed(["a fox"])["a fox"])
    plain = taught(EXAMPLES_ONLY, {"tune": near(TUNE, 3)}).score(x)
    assert (taught(against, {"tune": near(TUNE, 3)}).score(x) < plain).all()


def test_an_undefined_embedding_scores_nothing_with_examples_too():
    made = taught(EXAMPLES_ONLY, {"tune": near(TUNE, 3)})
    assert made.score(np.zeros((2, DIMENSION), np.float32)).tolist() == [[0.0], [0.0]]


def test_exclusive_scores_of_events_without_prompts_are_nothing():
    levels = {"loud": {"level": {"above_dbfs": -20}}, "louder": {"level": {"above_dbfs": -10}}}
    assert head(levels, scoring="exclusive").score(audio(2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("scoring", ["independent", "exclusive"])
def test_scores_do_not_depend_on_which_windows_share_a_batch(scoring):
    rng = np.random.default_rng(8)
    events = {f"e{i}": {"prompts": [f"p{i}", f"q{i}"], "negatives": [f"n{i}"]} for i in range(7)}
    made = Config.model_validate({"sources": {"mic": {}}, "events": events, "scoring": scoring})
    texts = {text: normalise(rng.standard_normal(783)) for text in prompts_of(made)}
    head = Head.build(made, texts, logit_scale=10.0)
    embeddings = normalise(rng.standard_normal((200, 783)))
    together = head.score(embeddings)
    for size in (1, 2, 3, 64):
        apart = [head.score(embeddings[first : first + size]) for first in range(0, 200, size)]
        np.testing.assert_array_equal(np.concatenate(apart), together)
