"""Decisions repeated on recorded scores are the pipeline's own."""

import numpy as np
import pytest
from pipeline_kit import EVENTS, config
from tones import ToneEncoder, write_scene

from monitor.config import EventConfig
from monitor.evaluation.timeline import Recorder, decide, local_peaks, rule_at
from monitor.replay import replay
from monitor.scoring import Scorer


async def heard(made, files):
    recorder = Recorder(list(made.events))
    scorer = Scorer(lambda _: ToneEncoder())
    try:
        await replay(made, files, recorder, scorer)
    finally:
        scorer.close()
    return recorder.heard(files)


SCENE = (None, 2), (500, 2), (None, 2), (2000, 0.6), (None, 1.2), (2000, 3), (500, 2), (None, 2)


def decided(made, timeline):
    """Decide anew on every event, under a configuration's own thresholds."""
    alerts = [
        alert
        for name, event in made.events.items()
        for alert in decide(made, name, timeline, event.on_threshold)
    ]
    return sorted(alerts, key=lambda alert: alert.decided_at)


def smoothed(**more):
    return config({"unused": {"type": "demo"}}, smoothing={"seconds": 0.5, "fall_seconds": 0.5}, **more)


async def test_deciding_anew_under_the_same_settings_gives_the_alerts_of_the_pipeline(tmp_path):
    path = write_scene(tmp_path / "scene.wav", *SCENE)
    made = smoothed()
    timeline, alerts = (await heard(made, [path]))[path]
    assert [alert.event for alert in alerts] == ["low", "high", "low"]
    assert decided(made, timeline) == alerts


async def test_deciding_anew_under_other_rules_gives_what_the_pipeline_would_have(tmp_path):
    path = write_scene(tmp_path / "scene.wav", *SCENE)
    timeline, _ = (await heard(smoothed(), [path]))[path]
    events = {name: event | {"on_threshold": 0.8, "min_on_seconds": 0.5} for name, event in EVENTS.items()}
    other = smoothed(events=events)
    _, alerts = (await heard(other, [path]))[path]
    assert alerts
    assert decided(other, timeline) == alerts


async def test_an_alert_is_decided_when_its_window_ends_after_min_on(tmp_path):
    path = write_scene(tmp_path / "scene.wav", (None, 2), (500, 3), (None, 2))
    events = {"low": {"prompts": "a tone of 500 Hz", "min_on_seconds": 1.0}}
    made = config({"unused": {"type": "demo"}}, events=events)
    timeline, (alert,) = (await heard(made, [path]))[path]
    first = timeline.end_times[timeline.smooth[:, 0] >= 0.5][0]
    assert alert.decided_at == first + 1.0
    assert alert.started_at == pytest.approx(2.0, abs=0.25)
    assert alert.ended_at == pytest.approx(5.0, abs=0.5)


async def test_a_recording_is_replayed_once_however_its_path_is_written(tmp_path):
    path = write_scene(tmp_path / "scene.wav", (None, 2))
    (tmp_path / "link.wav").symlink_to(path)
    (tmp_path / "sub").mkdir()
    spellings = [tmp_path / "sub" / ".." / "scene.wav", path, tmp_path / "link.wav"]
    found = await heard(config({"unused": {"type": "demo"}}), spellings)
    assert [len(timeline.end_times) for timeline, _ in found.values()] == [5, 0, 0]


async def test_a_recording_shorter_than_a_window_is_one_window(tmp_path):
    path = write_scene(tmp_path / "short.wav", (500, 0.4))
    timeline, _ = (await heard(config({"unused": {"type": "demo"}}), [path]))[path]
    assert timeline.end_times.tolist() == [1.0]
    assert timeline.raw[0, 0] > 0.9


def test_another_on_threshold_takes_the_off_threshold_along():
    plain = rule_at(EventConfig(prompts="x", min_off_seconds=3.0), 0.2)
    assert (plain.on_threshold, round(plain.off_threshold, 6), plain.min_off_seconds) == (0.2, 0.14, 3.0)
    given_off = rule_at(EventConfig(prompts="x", on_threshold=0.8, off_threshold=0.2), 0.4)
    assert (given_off.on_threshold, round(given_off.off_threshold, 6)) == (0.4, 0.1)


def test_peaks_are_what_no_neighbour_exceeds():
    smooth = np.array([[0.1], [0.5], [0.5], [0.2], [0.9]], dtype=np.float32)
    assert local_peaks(smooth).tolist() == np.array([0.5, 0.9], dtype=np.float32).tolist()
    assert local_peaks(np.zeros((0, 3), dtype=np.float32)).size == 0
