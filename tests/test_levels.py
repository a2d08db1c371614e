"""Level events: any loud sound, by the same rules and machines as every other event."""

import json
import math

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from monitor.config import Config
from monitor.detection import Detector
from monitor.levels import FLOOR_DBFS, level_dbfs_of, level_score
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.rules import Timing, event_in_words
from monitor.scoring import Scorer
from monitor.types import Phase, Reason, Scores

RATE = 48_000


def configure(level, sources=None, events=None, **options):
    return Config.model_validate(
        {
            "sources": sources or {"room": {}},
            "events": {"bang": {"level": level, **options}} | (events or {}),
            "mqtt": None,
        }
    )


def play(config, levels):
    """Return (phase, index of the window, reason) of everything that is told."""
    detector, told = Detector("room", config, lambda: "id"), []
    for index, level in enumerate(levels):
        scores = Scores("room", index / 2 - 1.5, index / 2 + 0.5, level, np.zeros(1, np.float32))
        told += [(event.phase, index, event.reason) for event in detector.process(scores)]
    return told


@given(st.floats(allow_nan=False, max_value=60), st.floats(allow_nan=False, max_value=60))
def test_louder_never_scores_less(one, other):
    low, high = sorted((one, other))
    assert 0.0 <= level_score(low) <= level_score(high) <= 1.0


@given(st.floats(FLOOR_DBFS, 0))
def test_a_hundredth_is_a_decibel(level):
    assert level_dbfs_of(level_score(level)) == pytest.approx(level, abs=1e-9)


def test_silence_scores_nothing_and_full_scale_one():
    assert (level_score(-math.inf), level_score(-30.0), level_score(3.0)) == (0.0, pytest.approx(0.7), 1.0)


class TestRule:
    def test_it_begins_after_being_loud_for_long_enough_and_ends_below_the_lower_bound(self):
        config = configure({"above_dbfs": -30, "for_seconds": 1}, min_off_seconds=0.5)
        levels = [-60, -29, -29, -40, -60, -29.9, -20, -29.9, -35, -35.9, -37, -37, -60]
        assert play(config, levels) == [
            (Phase.START, 7, Reason.THRESHOLD),
            (Phase.END, 11, Reason.THRESHOLD),
        ]

    def test_what_is_told_is_the_score_of_the_loudest_hop_beside_that_of_the_bound(self):
        config = configure({"above_dbfs": -30})
        detector = Detector("room", config, lambda: "id")
        [start] = detector.process(Scores("room", 0.0, 2.0, -20.0, np.zeros(1, np.float32)))
        assert (start.peak_score, start.threshold) == (pytest.approx(0.8), pytest.approx(0.7))
        [activity] = detector.activities()
        assert (activity.raw, activity.smooth) == (pytest.approx(0.8), pytest.approx(0.8))

    def test_the_level_gate_of_the_model_does_not_mute_it(self):
        config = configure({"above_dbfs": -80})
        assert play(config, [-75.0]) == [(Phase.START, 0, Reason.THRESHOLD)]

    def test_an_event_in_words_beside_it_is_as_without_it(self):
        config = configure({"above_dbfs": -30}, events={"dog": "a dog"})
        detector = Detector("room", config, lambda: "id")
        assert detector.quietest_dbfs == -70.0
        detector.process(Scores("room", 0.0, 2.0, -20.0, np.array([0.0, 0.4], np.float32)))
        assert detector.activities()[1].raw == pytest.approx(0.4)

    @pytest.mark.parametrize("for_seconds", [0.0, 0.3, 1.0, 2.2])
    def test_the_delay_that_is_told_is_that_of_the_real_parts(self, for_seconds):
        config = configure({"above_dbfs": -30, "for_seconds": for_seconds})
        told = play(config, [-90.0, *[-10.0] * 20])
        # The sound began just after window 0's hop had, and fills none before that of window 2.
        told_late = play(config, [-90.0, -90.0, *[-10.0] * 20])
        assert told_late[0][1] == told[0][1] + 1
        assert Timing.of(config, "bang").delay_seconds == pytest.approx(told_late[0][1] / 2)

    def test_it_is_told_in_decibels_and_seconds(self):
        assert event_in_words(configure({"above_dbfs": -30, "for_seconds": 1}), "bang") == (
            "begins at -30 dBFS, held for 1 s (3 windows in a row); told within 2 s",
            "ends below -36 dBFS for 1 s (3 windows)",
            "not smoothed",
        )


class Heard(Outlet):
    """Keeps events, and how many windows came with an embedding."""

    def __init__(self):
        self.events = []
        self.embedded_windows = 0

    async def deliver(self, event):
        self.events.append(event)

    def embedded(self, windows, embeddings):
        self.embedded_windows += int(embeddings.any(axis=1).sum())


@pytest.mark.real
async def test_a_loud_recording_is_told_without_asking_the_model(tmp_path):
    times = np.arange(2 * RATE) / RATE
    tone = np.sin(2e3 * np.pi * times)
    sound = np.concatenate((0.001 * tone, 0.1 * tone, 0.001 * tone))
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    source = {"type": "file", "path": str(tmp_path / "a.wav"), "realtime": False, "gain_db": 6}
    config = configure({"above_dbfs": -20, "for_seconds": 1}, {"room": source})
    scorer, heard = Scorer(), Heard()
    scorer.use(await scorer.prepare(config))
    try:
        await Pipeline(config, scorer, heard, Metrics(CollectorRegistry(), config), lossless=True).run()
    finally:
        scorer.close()
    start, end = heard.events
    # -23 dBFS is loud enough because of the gain. The first window that is loud ends at 2.5 s.
    assert end.ended_at - start.started_at == pytest.approx(2.0)
    assert start.peak_score == pytest.approx(level_score(-23.0 + 6.0), abs=0.002)
    assert heard.embedded_windows == 0


@pytest.mark.real
async def test_calibrate_gives_a_level_s_bounds_in_decibels(tmp_path):
    from pathlib import Path

    from monitor.calibrate import Options, calibrate
    from monitor.config_file import load_config

    rng = np.random.default_rng(0)
    noise = rng.standard_normal(120 * RATE) * np.repeat(10 ** rng.uniform(-3.5, -2, 240), RATE // 2)
    soundfile.write(tmp_path / "room.wav", noise, RATE)
    config_file = tmp_path / "config.yaml"
    config_file.write_text(
        json.dumps({"sources": {"room": {}}, "events": {"bang": {"level": {"above_dbfs": -60}}}})
    )
    out = Path(tmp_path / "thresholds.yaml")
    await calibrate(load_config(config_file, {}), Options(out, 1.0, [tmp_path / "room.wav"]))
    level = load_config(config_file, {}, [out]).events["bang"].level
    # The loudest hop is at -40 dBFS.
    assert -40.0 < level.above_dbfs < -20.0
    assert level.above_dbfs - 12.0 < level.below_dbfs < level.above_dbfs
