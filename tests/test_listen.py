"""The terminal's view: how far each event is from its threshold, and which of its descriptions won."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from monitor.config import Config
from monitor.heads import Head, prompts_of
from monitor.listen import Screen
from monitor.nearest import Nearest
from monitor.prototypes import AudioPrototype, normalise
from monitor.types import Activity, Scores, Window

DIMENSION = 32


def sounds(count, seed):
    return normalise(np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32))


def built(tune_examples):
    """Two events of several descriptions each; texts are embedded at random."""
    config = Config.model_validate(
        {
            "sources": {"hall": {"type": "microphone"}},
            "events": {
                "dog": ["a dog barking", "a puppy [yelping]"],
                "tune": {"prompts": "a washing machine's tune", "examples": ["mine.wav", "other.wav"]},
            },
        }
    )
    texts = dict(zip(prompts_of(config), sounds(99, 1), strict=False))
    learned = {"tune": AudioPrototype.of(tune_examples, sounds(48, 2))}
    head = Head.build(config, texts, 20.0, learned, sounds(48, 2))
    return config, texts, Nearest.build(config, texts, head)


def test_the_prompt_with_the_highest_score_wins():
    _, texts, nearest = built(sounds(2, 3))
    for prompt in ("a dog barking", "a puppy [yelping]"):
        assert nearest.of(texts[prompt])[0] == prompt
    assert nearest.of(texts["a washing machine's tune"])[1] == "a washing machine's tune"


def test_an_example_wins_where_the_sound_is_more_like_it_than_like_the_words():
    examples = normalise(sounds(1, 3) + 0.3 * sounds(2, 4))
    _, _, nearest = built(examples)
    assert [nearest.of(example)[1] for example in examples] == ["mine.wav", "other.wav"]


def test_silence_is_like_nothing():
    _, _, nearest = built(sounds(2, 3))
    assert nearest.of(np.zeros(DIMENSION, np.float32)) == ("", "")


def test_the_screen_shows_the_margin_to_the_threshold_and_what_won():
    config, texts, nearest = built(sounds(2, 3))
    screen = Screen(config, nearest)
    screen.source_changed("hall", True)
    window = Window("hall", 0, 48000, np.zeros(96000, np.float32), 0.0, 2.0, -20.0)
    screen.embedded([window], texts["a puppy [yelping]"][None])
    activities = [
        Activity("hall", "dog", raw=0.9, smooth=0.75, active=True, since=1.0),
        Activity("hall", "tune", raw=0.1, smooth=0.25, active=False, since=None),
    ]
    screen.scored(Scores("hall", 0.0, 2.0, -20.0, np.array([0.9, 0.1], np.float32)), activities)
    console = Console(file=io.StringIO(), width=120)
    console.print(screen)
    dog, tune = [line for line in console.file.getvalue().splitlines() if line.startswith(("dog", "tune"))]
    assert "heard +0.25" in dog
    assert "a puppy [yelping]" in dog
    assert "heard" not in tune
    assert "-0.25" in tune
    assert Path(nearest.of(texts["a puppy [yelping]"])[1]).name in tune
