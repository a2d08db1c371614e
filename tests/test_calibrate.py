"""`sound-monitor calibrate`: thresholds for a wanted rate, what can't be promised, a file that is whole."""

import io
import json
import os
import signal
from contextlib import redirect_stdout

import numpy as np
import pytest
import yaml
from pipeline_kit import config
from tones import RATE_HZ, ToneEncoder, write_scene

from monitor.calibrate import Options, calibrate, conclusions
from monitor.config_file import load_config
from monitor.errors import ConfigError, SinkError, SourceError
from monitor.evaluation.thresholds import check_by_halves, count_alerts, propose
from monitor.evaluation.timeline import Timeline, local_peaks
from monitor.scoring import Scorer

MADE = config({"hall": {"type": "demo"}}, smoothing={"method": "ema", "seconds": 0.5})
PER_DAY = 24.0


def room(hours, seed, *, scale=0.8, sources=1, made=MADE):
    """Sound in which each event's score wanders: its log-odds have an exponential tail."""
    rng = np.random.default_rng(seed)
    windows = round(hours * 3600 / 0.25)
    made_of = []
    for number in range(sources):
        logits = -5.0 + rng.exponential(scale, (windows, 2))
        smooth = (1 / (1 + np.exp(-logits))).astype(np.float32)
        times = 1.0 + 0.25 * np.arange(windows)
        made_of.append(Timeline(f"mic{number}", times, np.zeros(windows, dtype=np.float32), smooth, smooth))
    return made_of


def test_thresholds_from_one_half_keep_the_wanted_rate_in_the_other():
    """20 rooms of an hour, 24 a day wanted: one alarm an hour is right, whatever the seed."""
    alarms = 0
    for seed in range(20):
        (whole,) = room(2.0, seed)
        half = len(whole.end_times) // 2
        first, second = whole.part(0, half), whole.part(half, 2 * half)
        proposals = propose(MADE, [first], PER_DAY)
        assert all(each.false_per_day.expected <= PER_DAY / 2 + 1e-6 for each in proposals.values())
        alarms += count_alerts(MADE, {name: each.on_threshold for name, each in proposals.items()}, [second])
    assert 4 <= alarms <= 32


def test_the_wanted_rate_is_shared_by_events_and_sources():
    two = config({"hall": {"type": "demo"}, "attic": {"type": "demo"}})
    one_source, two_sources = (propose(made, room(1.0, 1), PER_DAY) for made in (MADE, two))
    for name in MADE.events:
        assert one_source[name].false_per_day.expected == pytest.approx(PER_DAY / 2, rel=0.01)
        assert two_sources[name].false_per_day.expected == pytest.approx(PER_DAY / 2, rel=0.01)
        assert two_sources[name].on_threshold > one_source[name].on_threshold


def test_the_off_threshold_keeps_its_proportion():
    for each in propose(MADE, room(1.0, 1), PER_DAY).values():
        assert each.off_threshold == pytest.approx(0.7 * each.on_threshold, abs=1e-4)


def test_an_event_that_must_last_gets_a_lower_threshold():
    lasting = config(
        {"hall": {"type": "demo"}}, events={"low": {"prompts": "x", "min_on_seconds": 0.5}, "high": "y"}
    )
    proposals = propose(lasting, room(1.0, 1), PER_DAY)
    assert proposals["low"].on_threshold < proposals["high"].on_threshold


def test_a_room_in_which_nothing_scores_leaves_the_thresholds_as_they_were():
    silent = Timeline(
        "mic",
        1.0 + 0.25 * np.arange(4000),
        np.full(4000, -90, dtype=np.float32),
        *(np.zeros((4000, 2), dtype=np.float32) for _ in range(2)),
    )
    proposals = propose(MADE, [silent], 1.0)
    assert {each.on_threshold for each in proposals.values()} == {0.5}
    assert {each.false_per_day for each in proposals.values()} == {None}
    text = "\n".join(conclusions(1.0, proposals, check_by_halves(MADE, [silent], 1.0)))
    assert "Too few peaks to go by: low, high. Left as they were" in text


def test_a_few_seconds_in_which_something_scores_put_the_threshold_well_above_it():
    smooth = np.array([[0.01, 0.01], [0.6, 0.02], [0.01, 0.01], [0.5, 0.01]], dtype=np.float32)
    few = Timeline("mic", 1.0 + 0.25 * np.arange(4), np.zeros(4, dtype=np.float32), smooth, smooth)
    proposals = propose(MADE, [few], PER_DAY)
    assert proposals["low"].on_threshold == pytest.approx(0.968, abs=1e-3)
    assert proposals["high"].on_threshold == 0.5
    assert proposals["low"].false_per_day is None


def test_an_event_that_no_threshold_silences_is_named():
    (noisy,) = room(1.0, 1)
    noisy.smooth[::40, 0] = 0.9999
    proposals = propose(MADE, [noisy], 1.0)
    assert not proposals["low"].within_reach
    assert proposals["low"].on_threshold == 0.999
    text = "\n".join(conclusions(1.0, proposals, check_by_halves(MADE, [noisy], 1.0)))
    assert "No threshold gives the wanted rate in this room: low." in text


def test_an_event_that_was_quiet_for_a_minute_is_not_made_deaf_for_a_rare_alarm():
    made = room(0.02, 1, scale=0.4)
    proposals = propose(MADE, made, 0.001)
    for name, each in proposals.items():
        assert each.too_short
        assert each.within_reach
        assert each.highest < each.on_threshold < 0.8
        assert each.false_per_day.low <= each.false_per_day.expected <= each.false_per_day.high
        assert MADE.events[name].on_threshold <= each.on_threshold
    text = "\n".join(conclusions(0.001, proposals, check_by_halves(MADE, made, 0.001)))
    assert "Heard too shortly to place by the rate: low, high. Left as they were" in text
    assert "No threshold" not in text


def test_a_short_recording_is_said_to_be_too_short_with_the_hours_that_it_takes():
    sound = room(0.5, 1)
    check = check_by_halves(MADE, sound, 1.0)
    assert check.hours == pytest.approx(0.5)
    assert check.hours_needed == pytest.approx(72.0, rel=2e-3)
    assert not check.promises(1.0)
    text = "\n".join(conclusions(1.0, propose(MADE, sound, 1.0), check))
    assert "Too short to promise 1 a day: that takes 71.9 h without a false alarm." in text


def test_a_long_recording_without_alarms_promises_its_rate_without_ado():
    sound = room(8.0, 1)
    wanted = 24.0
    check = check_by_halves(MADE, sound, wanted)
    text = "\n".join(conclusions(wanted, propose(MADE, sound, wanted), check))
    assert ("Too short" in text) == (check.per_day.high > wanted)
    # Two alarms and fewer leave 24 a day possible at most; the wanted rate itself gives eight.
    assert check.promises(100.0)


def test_where_a_source_does_not_listen_for_an_event_it_does_not_count():
    made = config(
        {"hall": {"type": "demo"}, "attic": {"type": "demo"}},
        events={"low": {"prompts": "x", "sources": ["hall"]}, "high": "y"},
    )
    hall, attic = room(1.0, 1, sources=2)
    attic.smooth[:, 0] = np.nan
    proposals = propose(made, [hall, attic], PER_DAY)
    alone = propose(made, [hall], PER_DAY)
    assert proposals["low"].on_threshold == alone["low"].on_threshold
    assert check_by_halves(made, [hall, attic], PER_DAY).hours == pytest.approx(2.0)


def test_peaks_within_reach_of_a_higher_one_are_not_counted():
    smooth = np.array([[0.5], [0.1], [0.9], [0.1], [0.4], [0.1], [0.1], [0.3]], dtype=np.float32)
    assert local_peaks(smooth, 1).tolist() == pytest.approx([0.5, 0.9, 0.4, 0.3])
    assert local_peaks(smooth, 2).tolist() == pytest.approx([0.9, 0.3])


def scorer():
    return Scorer(lambda _: ToneEncoder())


@pytest.fixture
def hall(tmp_path):
    """Two minutes of room noise with a tone now and then, about as loud as the noise."""
    import soundfile

    rng = np.random.default_rng(5)
    samples = 0.01 * rng.standard_normal(120 * RATE_HZ)
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    for start in range(4, 116, 6):
        tone_hz = (500, 2000)[start // 6 % 2]
        loud = rng.uniform(0.010, 0.0135)
        samples[start * RATE_HZ : (start + 2) * RATE_HZ] += loud * np.sin(2 * np.pi * tone_hz * times)
    path = tmp_path / "hall.wav"
    soundfile.write(path, samples.astype(np.float32), RATE_HZ)
    return path


@pytest.fixture
def positives(tmp_path):
    write_scene(tmp_path / "loud.wav", (None, 4), (500, 4), (None, 4), (2000, 4), (None, 4))
    path = tmp_path / "positives.csv"
    path.write_text("path,label,onset,offset\nloud.wav,low,4,8\nloud.wav,high,12,16\n")
    return path


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(
        "sources: {hall: {type: demo}}\n"
        "events: {low: a tone of 500 Hz, high: a tone of 2000 Hz}\n"
        "background: [other]\n"
        "windows: {window_seconds: 1.0, hop_seconds: 0.25, min_level_dbfs: -60}\n"
        "smoothing: {method: ema, seconds: 0.5}\n"
    )
    return path


async def said(made, options):
    out = io.StringIO()
    with redirect_stdout(out):
        await calibrate(made, options, scorer())
    return out.getvalue()


async def test_a_recording_and_positives_give_an_overlay_that_loads_and_a_table(
    hall, positives, base, tmp_path
):
    out = tmp_path / "thresholds.yaml"
    text = await said(load_config(base), Options(out, 24.0, [hall], positives=positives))
    for expected in ("low", "high", "1.00 (1/1)", "hall.wav 0:0", "24 wanted", "Checked by halves", str(out)):
        assert expected in text
    calibrated = load_config(base, overlays=[out])
    assert "# Expected in all: " in out.read_text(), "also what wasn't reached"
    written = yaml.safe_load(out.read_text())["events"]
    assert list(written) == ["low", "high"]
    for name, event in calibrated.events.items():
        assert event.on_threshold == written[name]["on_threshold"] != 0.5
        assert event.off == written[name]["off_threshold"]
        assert event.prompts == load_config(base).events[name].prompts
    assert [path.name for path in tmp_path.glob(".*")] == []


async def test_a_script_gets_the_thresholds_with_what_is_expected_of_them(hall, positives, base, tmp_path):
    out = tmp_path / "thresholds.yaml"
    options = Options(out, 24.0, [hall], positives=positives, as_json=True)
    told = json.loads(await said(load_config(base), options), parse_constant=pytest.fail)
    assert told["encoder"] == "tones-1"
    assert told["hours"] == pytest.approx(120 / 3600, rel=0.02)
    written = yaml.safe_load(out.read_text())["events"]
    for name, event in told["events"].items():
        assert {key: event[key] for key in ("on_threshold", "off_threshold")} == written[name]
        assert event["was"] == 0.5
        assert event["recall"] == 1.0
        rate = event["false_per_day"]
        assert rate["low"] <= rate["expected"] <= rate["high"]
    assert told["written"] == str(out)
    assert told["check"]["false"] >= 0
    assert told["says"][0].startswith("Expected in all: ")


async def test_labels_behind_a_recordings_end_are_told_before_the_listening(hall, positives, base, tmp_path):
    positives.write_text("path,label,onset,offset\nloud.wav,low,40,41\n")
    options = Options(tmp_path / "thresholds.yaml", 24.0, [hall], positives=positives)
    with pytest.raises(ConfigError, match=r"positives.csv:2: onset 40 is behind the end of 'loud.wav' at 20"):
        await calibrate(load_config(base), options, Scorer(lambda _: pytest.fail("a model was loaded")))


async def test_a_recording_that_is_named_twice_is_heard_once(hall, base, tmp_path):
    (tmp_path / "link.wav").symlink_to(hall)
    options = Options(tmp_path / "thresholds.yaml", 24.0, [hall, hall, tmp_path / "link.wav"], as_json=True)
    told = json.loads(await said(load_config(base), options))
    assert told["hours"] == pytest.approx(120 / 3600, rel=0.02)


async def test_an_overlay_that_is_there_is_kept_unless_forced(hall, base, tmp_path):
    out = tmp_path / "thresholds.yaml"
    out.write_text("mine")
    with pytest.raises(SinkError, match=r"is there already; give another name or --force"):
        await said(load_config(base), Options(out, 24.0, [hall]))
    assert out.read_text() == "mine"
    await said(load_config(base), Options(out, 24.0, [hall], force=True))
    assert "on_threshold" in out.read_text()


async def test_an_overlay_that_cannot_be_written_is_told_in_a_line(hall, base, tmp_path):
    with pytest.raises(SinkError, match=r"--out '.*' can't be written: '.*none' is no folder"):
        await said(load_config(base), Options(tmp_path / "none" / "t.yaml", 24.0, [hall]))


async def test_less_than_a_window_is_nothing_to_go_by(tmp_path):
    short = write_scene(tmp_path / "short.wav", (None, 0.5))
    with pytest.raises(SourceError, match=r"less than a window of 1 s was heard; record an hour or more"):
        await said(live(short, realtime=True), Options(tmp_path / "t.yaml", 24.0, minutes=1.0))


def live(path, **more):
    return config(
        {"hall": {"type": "file", "path": str(path), "realtime": False, **more}},
        smoothing={"method": "ema", "seconds": 0.5},
    )


async def test_live_sources_that_end_end_the_listening(hall, tmp_path):
    out = tmp_path / "thresholds.yaml"
    text = await said(live(hall), Options(out, 24.0, minutes=60.0))
    assert "Checked by halves" in text
    assert out.exists()


async def test_no_veto_makes_the_model_hear_silence_where_no_clips_are_written(tmp_path):
    class Deaf(ToneEncoder):
        def embed_audio(self, windows):
            raise AssertionError

    path = write_scene(tmp_path / "a.wav", (None, 3))
    made = config(
        {"hall": {"type": "file", "path": str(path), "realtime": False}},
        windows={"window_seconds": 1.0, "hop_seconds": 0.25, "min_level_dbfs": -40},
        clips={"directory": str(tmp_path)},
        privacy={"veto": ["speech"]},
    )
    with redirect_stdout(io.StringIO()):
        await calibrate(made, Options(tmp_path / "t.yaml", 24.0, minutes=60.0), Scorer(lambda _: Deaf()))
    assert (tmp_path / "t.yaml").exists()


async def test_listening_ends_in_time_and_on_an_interrupt(hall, tmp_path):
    out = tmp_path / "timed.yaml"
    await said(live(hall, loop=True), Options(out, 24.0, minutes=1.5 / 60))
    assert out.exists()

    class Interrupting(ToneEncoder):
        batches = 0

        def embed_audio(self, windows):
            Interrupting.batches += 1
            if Interrupting.batches == 200:
                os.kill(os.getpid(), signal.SIGINT)
            return super().embed_audio(windows)

    out = tmp_path / "interrupted.yaml"
    with redirect_stdout(io.StringIO()):
        await calibrate(
            live(hall, loop=True), Options(out, 24.0, minutes=60.0), Scorer(lambda _: Interrupting())
        )
    assert out.exists()
    assert Interrupting.batches >= 200
