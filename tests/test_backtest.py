"""Another configuration on the history: the same one tells exactly what was told live."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import RATE_HZ, ToneEncoder, scene, write_scene

from monitor.config import Config
from monitor.evaluation.timeline import Recorder as Watcher
from monitor.history.folder import Folder
from monitor.history.values import Kind
from monitor.past import report_backtest
from monitor.past.backtest import Trial, backtest, compare
from monitor.past.query import Question
from monitor.recorder import kind_of, recording
from monitor.replay import replay
from monitor.scoring import Scorer
from monitor.types import Event, Phase, Reason

EVENTS = {
    "low": {"prompts": "a 500 Hz tone", "smoothing": {"method": "none"}},
    "high": {
        "prompts": ["a 2000 Hz tone", "a 4000 Hz tone"],
        "negatives": "a 1000 Hz tone",
        "min_on_seconds": 0.5,
    },
    "middle": {
        "prompts": "a 1000 Hz tone",
        "smoothing": {"method": "median", "seconds": 1},
        "min_level_dbfs": -20,
    },
}
LOUD = {"loud": {"level": {"above_dbfs": -14, "for_seconds": 0.5}}}


def config(**more):
    return Config.model_validate(
        {
            "sources": {"hall": {}, "yard": {}},
            "events": EVENTS,
            "windows": {"window_seconds": 1, "hop_seconds": 0.25, "min_level_dbfs": -45},
            "history": {},
            **more,
        }
    )


class Listener(Watcher):
    """Keeps every published event."""

    def __init__(self, events):
        super().__init__(events)
        self.published = []

    def event(self, file: Path, event: Event) -> None:
        super().event(file, event)
        self.published.append(event)


async def recorded(made, files, folder, encoder=ToneEncoder):
    scorer = Scorer(load=lambda _: encoder())
    listener = Listener(list(made.events))

    def describe(window, dimension) -> Kind:
        return kind_of(window, dimension, scorer.encoder, made)

    async with recording(folder, describe) as keeper:
        await replay(made, files, listener, scorer, keeper)
    assert keeper.dropped == 0
    scorer.close()
    return listener


def tried(made, folder, encoder=ToneEncoder, **span):
    scorer = Scorer(load=lambda _: encoder())
    prepared = asyncio.run(scorer.prepare(made))
    scorer.close()
    question = Question(prepared.head, prepared.encoder.identity)
    return backtest(Folder(folder).segments(), made, question, **span)


def facts(events):
    """Everything of an event but its id."""
    return sorted(
        (e.source, e.started_at, e.name, e.phase, e.ended_at, e.peak_score, e.threshold, e.reason)
        for e in events
    )


def noisy(path, seconds, seed):
    """A long scene of tones at random times and levels, so that scores lie everywhere."""
    rng = np.random.default_rng(seed)
    samples = 0.004 * rng.standard_normal(seconds * RATE_HZ)
    for _ in range(seconds // 2):
        begin, length = rng.integers(0, seconds - 4), rng.uniform(0.2, 3.0)
        tone = scene((int(rng.choice([500, 1000, 2000, 4000])), length)) * 10 ** rng.uniform(-1.8, 0.0)
        samples[begin * RATE_HZ :][: len(tone)] += tone
    soundfile.write(path, samples.astype(np.float32), RATE_HZ, subtype="FLOAT")
    return path


def test_the_same_configuration_tells_what_replay_told_to_the_last_digit(tmp_path):
    files = [noisy(tmp_path / f"{name}.wav", 60, seed) for seed, name in enumerate(("hall", "yard", "attic"))]
    made = config(events=EVENTS | LOUD)
    live = asyncio.run(recorded(made, files, tmp_path / "history"))
    trial = tried(made, tmp_path / "history")
    assert len(live.published) > 30
    assert facts([*trial.started, *trial.occurrences]) == facts(live.published)
    assert {e.name for e in live.published} == set(made.events)
    for timeline in trial.timelines:
        (heard, _) = live.heard([tmp_path / f"{timeline.source}.wav"])[tmp_path / f"{timeline.source}.wav"]
        np.testing.assert_array_equal(timeline.smooth, heard.smooth)
    for name in made.events:
        difference = compare(name, trial)
        assert (difference.only_now, difference.only_then) == ((), ())
        assert difference.both == difference.then > 0


def test_without_a_history_scores_are_those_of_full_precision(tmp_path):
    files = [noisy(tmp_path / "hall.wav", 60, 4)]
    plain = config(history=None)
    scorer = Scorer(load=lambda _: ToneEncoder())
    watcher = Watcher(list(plain.events))
    asyncio.run(replay(plain, files, watcher, scorer))
    scorer.close()
    full = watcher.heard(files)[files[0]][0].raw
    halved = asyncio.run(recorded(config(), files, tmp_path / "history")).heard(files)[files[0]][0].raw
    assert 0.0 < np.abs(full - halved).max() < 2e-3


def test_a_lost_source_ends_what_lasted_and_smoothing_starts_anew(tmp_path):
    first = write_scene(tmp_path / "hall.wav", (None, 1), (500, 3))
    asyncio.run(recorded(config(), [first], tmp_path / "history"))
    asyncio.run(recorded(config(), [first], tmp_path / "history"))
    trial = tried(config(), tmp_path / "history")
    assert len(trial.timelines) == 2
    assert [(e.name, e.reason) for e in trial.occurrences] == [("low", Reason.SOURCE_LOST)] * 2


def test_what_is_new_and_what_is_gone_is_told(tmp_path):
    file = write_scene(tmp_path / "hall.wav", (None, 2), (500, 2), (None, 4), (2000, 2), (None, 2))
    asyncio.run(recorded(config(), [file], tmp_path / "history"))
    changed = {
        "low": {**EVENTS["low"], "min_on_seconds": 30},
        "high": EVENTS["high"],
        "whistle": {"prompts": "a 2000 Hz tone"},
    }
    trial = tried(config(events=changed), tmp_path / "history")
    summaries = report_backtest.summarise(config(events=changed), trial, 1.0)
    counts = {name: (s.now, s.difference.then, s.difference.both) for name, s in summaries.items()}
    assert counts == {"low": (0, 1, 0), "high": (1, 1, 1), "whistle": (1, 0, 0)}
    (gone,) = summaries["low"].difference.only_then
    assert gone["started_at"] == pytest.approx(2.5, abs=1.0)
    assert sum(summaries["whistle"].histogram) == trial.windows == 45
    assert summaries["whistle"].highest > 0.9
    out = json.loads(json.dumps(report_backtest.as_json(trial, summaries)))
    assert out["events"]["whistle"]["new"][0]["source"] == "hall"
    assert out["minutes_per_second"] > 0


def test_another_encoder_or_other_windows_are_left_out_and_told(tmp_path):
    class Other(ToneEncoder):
        identity = "tones-2"

    file = write_scene(tmp_path / "hall.wav", (None, 2), (500, 2), (None, 1))
    asyncio.run(recorded(config(), [file], tmp_path / "history"))
    asyncio.run(recorded(config(), [file], tmp_path / "history", Other))
    wide = config(windows={"window_seconds": 2, "hop_seconds": 0.5})
    asyncio.run(recorded(wide, [file], tmp_path / "history"))
    trial = tried(config(), tmp_path / "history")
    assert trial.windows == 17
    assert trial.foreign == {
        "encoder tones-2": pytest.approx(17 * 0.25 / 3600),
        "windows of 2 s every 0.5 s": pytest.approx(7 * 0.5 / 3600),
    }
    nothing = tried(config(windows={"window_seconds": 3, "hop_seconds": 1}), tmp_path / "history")
    assert nothing.windows == 0
    assert "windows of 1 s every 0.25 s; the configuration has others" in report_backtest.nothing_tried(
        nothing, of_recordings=False
    )
    remedy = "Remedy: index the recordings with --config and this file."
    assert report_backtest.nothing_tried(nothing, of_recordings=True).endswith(remedy)


VETO = {"clips": {"directory": "unused"}, "privacy": {"veto": ["a 4000 Hz tone"]}}


@pytest.mark.parametrize("more", [{}, VETO], ids=["no clips", "a veto on clips"])
def test_windows_that_a_louder_gate_left_out_are_counted(tmp_path, more):
    file = write_scene(tmp_path / "hall.wav", (None, 4), (500, 2))
    made = config(**more)
    asyncio.run(recorded(made, [file], tmp_path / "history"))
    lower = config(windows={"window_seconds": 1, "hop_seconds": 0.25, "min_level_dbfs": -90}, **more)
    assert tried(made, tmp_path / "history").unscored == 0
    assert tried(lower, tmp_path / "history").unscored > 5


def test_only_the_span_asked_for_is_tried(tmp_path):
    file = write_scene(tmp_path / "hall.wav", (500, 2), (None, 4), (500, 2), (None, 2))
    asyncio.run(recorded(config(), [file], tmp_path / "history"))
    trial = tried(config(), tmp_path / "history", since=5.0, until=8.0)
    assert trial.windows == 12
    assert [round(event["started_at"]) for event in trial.told] == [6]


def told(source, start, end, name="low"):
    return {"source": source, "event": name, "started_at": start, "ended_at": end}


def occurrence(source, start, end, name="low"):
    return Event("x", source, name, Phase.END, start, end, 0.9, 0.5, Reason.THRESHOLD)


def test_occurrences_are_the_same_where_they_overlap_on_the_same_source():
    trial = Trial(
        occurrences=[occurrence("hall", 10, 20), occurrence("hall", 40, 41), occurrence("yard", 90, 95)],
        told=[
            told("hall", 0, 3),
            told("hall", 12, 13),
            told("hall", 15, 16),
            told("yard", 10, 20),
            told("yard", 80, None),
        ],
    )
    difference = compare("low", trial)
    assert (difference.then, difference.both) == (5, 2)
    assert [event.started_at for event in difference.only_now] == [40]
    assert [(event["source"], event["started_at"]) for event in difference.only_then] == [
        ("hall", 0),
        ("yard", 10),
    ]
    assert compare("other", trial).then == 0


@pytest.mark.real
def test_a_recorded_stream_gives_the_same_events_with_the_built_in_encoder(tmp_path, shared):
    check_streams(tmp_path, sorted((shared / "streams").glob("*.*g"))[:1], shared)


@pytest.mark.large
def test_a_recorded_hour_gives_the_same_events_with_the_built_in_encoder(tmp_path, shared):
    streams = [file for file in sorted((shared / "streams").iterdir()) if file.suffix != ".csv"]
    rate_hz = soundfile.info(streams[0]).samplerate
    hour = np.concatenate(
        [soundfile.read(file, dtype="float32", always_2d=True)[0].mean(axis=1) for file in streams]
    )
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.resize(hour, 3600 * rate_hz), rate_hz)
    check_streams(tmp_path, [path], shared)


def check_streams(tmp_path, files, shared):
    from monitor.encoders.compact import CompactEncoder

    words = (
        "dog barking",
        "door knock",
        "church bells",
        "siren",
        "rain",
        "footsteps",
        "clock ticking",
        "crying baby",
    )
    events = {
        text.replace(" ", "_"): {"prompts": [text, f"the sound of {text}"], "on_threshold": 0.3}
        for text in words
    }
    made = Config.model_validate({"sources": {"hall": {}}, "events": events, "history": {}})
    live = asyncio.run(recorded(made, files, tmp_path / "history", CompactEncoder.load))
    trial = tried(made, tmp_path / "history", CompactEncoder.load)
    assert len(live.published) >= 2
    assert facts([*trial.started, *trial.occurrences]) == facts(live.published)
    rate = f"{trial.minutes_per_second:.0f} minutes of history a second"
    print(f"{trial.hours:.3g} h, {len(live.published)} starts and ends, {rate}")  # noqa: T201
