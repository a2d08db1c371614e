"""The terminal's view: how far each event is from its threshold, and which of its descriptions won."""

import asyncio
import io
import itertools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from mqtt_kit import an_event
from rich.console import Console
from tones import ToneEncoder, write_scene

from monitor import listen as listening
from monitor.config import Config
from monitor.heads import Head, prompts_of
from monitor.listen import Lines, Screen
from monitor.nearest import Nearest
from monitor.prototypes import AudioPrototype, normalise
from monitor.scoring import Scorer
from monitor.sinks.messages import event_fields
from monitor.types import Activity, Scores, Window

DIMENSION = 32
RATE_HZ = 16_000


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


def test_a_level_is_like_nothing_beside_events_in_words():
    config = Config.model_validate(
        {
            "sources": {"hall": {"type": "microphone"}},
            "events": {"bang": {"level": {"above_dbfs": -30}}, "dog": ["a dog barking"]},
        }
    )
    texts = dict(zip(prompts_of(config), sounds(99, 1), strict=False))
    nearest = Nearest.build(config, texts, Head.build(config, texts, 20.0))
    assert nearest.of(texts["a dog barking"]) == ("", "a dog barking")


def test_scripts_get_a_line_for_every_window_and_event(capsys):
    config, texts, nearest = built(sounds(2, 3))
    lines = Lines(config, nearest)
    window = Window("hall", 0, 48000, np.zeros(96000, np.float32), 0.0, 2.0, -20.0)
    lines.embedded([window], texts["a dog barking"][None])
    activities = [
        Activity("hall", "dog", raw=0.9, smooth=0.75, active=True, since=1.0),
        Activity("hall", "tune", raw=0.1, smooth=0.25, active=False, since=None),
    ]
    values = np.array([0.9, 0.1], np.float32)
    lines.scored(Scores("hall", 0.0, 2.0, -20.0, values), activities)
    lines.scored(Scores("hall", 0.5, 2.5, -np.inf, 0 * values), activities)
    asyncio.run(lines.deliver(an_event(1)))
    heard, silent, told = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    dog = {"score": 0.75, "raw": 0.9, "threshold": 0.5, "active": True, "most_like": "a dog barking"}
    assert {**heard, "scores": heard["scores"]["dog"]} == {
        "source": "hall",
        "time": 2.0,
        "level_dbfs": -20.0,
        "scores": dog,
    }
    assert silent["level_dbfs"] is None
    assert silent["scores"]["dog"]["most_like"] is None  # nothing was scored that it could be like
    assert told == {"source": "hall", "event": event_fields(an_event(1))}


def test_scripts_get_a_line_for_a_source_only_when_it_changes(capsys):
    config, _, nearest = built(sounds(2, 3))
    lines = Lines(config, nearest)
    for online in (False, False, True, True, False, False, True):
        lines.source_changed("hall", online)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [{"source": "hall", "online": online} for online in (False, True, False, True)]


def test_listen_tells_a_script_what_a_source_brings_until_it_ends(tmp_path):
    rng = np.random.default_rng(1)
    samples = 0.1 * rng.standard_normal(4 * RATE_HZ, np.float32)
    soundfile.write(tmp_path / "noise.wav", samples, RATE_HZ)
    config = tmp_path / "config.yaml"
    config.write_text("sources: {hall: {type: file, path: noise.wav}}\nevents: {dog: a dog barking}\n")
    command = [sys.executable, "-m", "monitor", "listen", str(config), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["online"] for each in lines if "online" in each] == [True, False]
    levels = [each["level_dbfs"] for each in lines if "scores" in each]
    assert levels
    assert levels == pytest.approx([-20.0] * len(levels), abs=1.0)


def test_listen_tells_a_pipe_of_each_change_as_it_happens(tmp_path):
    recording = write_scene(tmp_path / "tone.wav", (None, 2), (3000, 3), (None, 30))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"sources: {{hall: {{type: file, path: {recording}}}}}\n"
        "events: {beep: {prompts: a high-pitched tone, on_threshold: 0.3, off_threshold: 0.25}}\n"
    )
    command = [sys.executable, "-m", "monitor", "listen", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
    online, began, ended, *_, offline = (re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines)
    assert (online, offline) == ("hall: online\n", "hall: offline\n")
    assert began.startswith("hall: beep began (score ")
    assert ended.startswith("hall: beep ended after ")
    assert process.returncode == 0


@pytest.fixture
def tone(tmp_path, monkeypatch):
    """A source of a tone, an event that hears it, and a terminal: what was written there."""
    monkeypatch.setattr(listening, "Scorer", lambda: Scorer(lambda _: ToneEncoder()))
    terminal = io.StringIO()
    monkeypatch.setattr(listening, "Console", lambda: Console(file=terminal, force_terminal=True, width=80))
    path = write_scene(tmp_path / "a.wav", (500, 6))
    source = {"type": "file", "path": str(path), "realtime": False}
    events = {"low": {"prompts": ["a tone of 500 Hz"]}}
    return Config.model_validate({"sources": {"hall": source}, "events": events}), terminal


async def test_the_last_frame_does_not_wait_for_sound(tone, monkeypatch):
    config, terminal = tone
    monkeypatch.setenv("TERM", "xterm")
    await listening.listen(config)
    last = terminal.getvalue().split("\x1b[2K")[-1]
    assert "hall   stopped" in last
    assert "low began" in last
    assert "low ended" in last


async def test_a_terminal_that_can_only_print_gets_a_line_for_each_change(tone, monkeypatch, capsys):
    config, terminal = tone
    monkeypatch.setenv("TERM", "dumb")
    await listening.listen(config)
    assert terminal.getvalue() == ""
    lines = [line.split()[1:4] for line in capsys.readouterr().out.splitlines()]
    assert [line[1:] for line in lines] == [["online"], ["low", "began"], ["low", "ended"], ["offline"]]


async def test_no_veto_makes_the_model_hear_silence_where_no_clips_are_written(tmp_path, monkeypatch, capsys):
    class Deaf(ToneEncoder):
        def embed_audio(self, windows):
            raise AssertionError

    monkeypatch.setattr(listening, "Scorer", lambda: Scorer(lambda _: Deaf()))
    path = write_scene(tmp_path / "a.wav", (None, 3))
    config = Config.model_validate(
        {
            "sources": {"hall": {"type": "file", "path": str(path), "realtime": False}},
            "events": {"dog": "a dog barking"},
            "windows": {"min_level_dbfs": -40},
            "clips": {"directory": str(tmp_path)},
            "privacy": {"veto": ["speech"]},
        }
    )
    await listening.listen(config, as_json=True)
    assert '"scores"' in capsys.readouterr().out


def a_screen():
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
    tune = nearest.of(texts["a puppy [yelping]"])[1]
    return screen, Path(tune).name


def shown(screen, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(screen)
    return console.file.getvalue().splitlines()


def test_the_screen_shows_the_margin_to_the_threshold_and_what_won():
    screen, like_tune = a_screen()
    dog, tune = [line for line in shown(screen, 120) if line.startswith(("dog", "tune"))]
    assert "heard +0.25" in dog
    assert "a puppy [yelping]" in dog
    assert "heard" not in tune
    assert "-0.25" in tune
    assert like_tune in tune


@pytest.mark.parametrize("width", [24, 30, 40, 50, 60, 70, 80, 120])
def test_names_scores_and_margins_are_readable_on_a_terminal_of_any_width(width):
    lines = shown(a_screen()[0], width)
    assert max(map(len, lines)) <= width
    assert re.fullmatch(r"hall    -20\.0 dBFS .*", lines[0])
    dog, tune = [line for line in lines if line.startswith(("dog", "tune"))]
    assert re.match(r"dog .*\b0\.75 .*heard \+0\.25( |$)", dog)
    assert re.match(r"tune .*\b0\.25 .* -0\.25( |$)", tune)
    assert "…" not in lines[-2].split("heard")[0]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_terminal_that_knows_ascii_only_gets_bars_and_words_in_ascii(width):
    screen, _ = a_screen()
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    console = Console(file=terminal, width=width)
    console.print(screen)
    terminal.flush()
    lines = terminal.buffer.getvalue().decode("ascii").splitlines()
    plain = [line.replace("█", "#").replace("·", ".") for line in shown(screen, width)]
    assert [line.rstrip()[:60] for line in lines] == [line.rstrip()[:60] for line in plain]


def test_a_narrow_terminal_goes_without_words_first_and_then_without_bars():
    screen, _ = a_screen()
    has = {
        width: ("a puppy" in text, "|" in text, "0.90" in text)
        for width in range(20, 121)
        for text in ["\n".join(shown(screen, width))]
    }
    assert has[120] == has[80] == (True, True, True)
    steps = [seen for seen, _ in itertools.groupby(has.values())]
    assert steps == [(False, False, False), (False, False, True), (False, True, True), (True, True, True)]


def test_a_name_that_is_too_long_for_the_terminal_goes_over_two_lines():
    name = "something_with_a_long_name"
    config = Config.model_validate({"sources": {"hall": {"type": "microphone"}}, "events": {name: "a dog"}})
    screen = Screen(config, Nearest((("a dog",),), (), None))
    screen.scored(
        Scores("hall", 0.0, 2.0, -20.0, np.zeros(1)), [Activity("hall", name, 0.1, 0.1, False, None)]
    )
    lines = shown(screen, 34)
    assert "".join(line.split(" ")[0] for line in lines[2:]) == name
