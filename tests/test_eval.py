"""`sound-monitor eval` end to end on made scenes, and its figures against the library called directly."""

import csv
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pipeline_kit import config
from tones import ToneEncoder, write_scene

from monitor.errors import ConfigError, MonitorError
from monitor.evaluate import Options, evaluate, hear
from monitor.evaluation.figures import best_common_threshold, evaluate_timelines, tally_at
from monitor.evaluation.manifest import read_manifest
from monitor.evaluation.sed import library
from monitor.replay import Printer, replay
from monitor.scoring import Scorer

MADE = config({"unused": {"type": "demo"}}, smoothing={"method": "ema", "seconds": 0.25})
PAUSE = (None, 6)


@pytest.fixture
def scenes(tmp_path):
    """Two recordings: of three low tones one is labelled, the high ones are, a middle one has no event."""
    write_scene(tmp_path / "one.wav", PAUSE, (500, 3), PAUSE, (2000, 3), PAUSE)
    write_scene(tmp_path / "two.wav", PAUSE, (500, 3), PAUSE, (2000, 1.5), PAUSE, (1000, 2), (None, 1))
    write_scene(tmp_path / "quiet.wav", (None, 20), (500, 2), (None, 8))
    path = tmp_path / "labels.csv"
    path.write_text(
        "path,label,onset,offset\n"
        "one.wav,low,6,9\n"
        "one.wav,high,15,18\n"
        "two.wav,high,15,16.5\n"
        "two.wav,middle,22.5,24.5\n"
        "quiet.wav,,,\n"
    )
    return path


def scorer():
    return Scorer(lambda _: ToneEncoder())


async def printed(options, made=MADE):
    out = io.StringIO()
    with redirect_stdout(out):
        await evaluate(made, options, scorer())
    return out.getvalue()


async def test_known_scenes_have_the_figures_counted_by_hand(scenes):
    figures = json.loads(await printed(Options(scenes, json=True)))
    low, high, overall = figures["events"]["low"], figures["events"]["high"], figures["overall"]
    assert (low["occurrences"], low["right"], low["false"]) == (1, 1, 2)
    assert (high["occurrences"], high["right"], high["false"]) == (2, 2, 0)
    assert (low["recall"], low["precision"], low["f1"]) == (1.0, 1 / 3, 0.5)
    assert (overall["right"], overall["false"], overall["precision"]) == (3, 2, 0.6)
    seconds = 24 + 25.5 + 30
    assert figures["hours"] == pytest.approx(seconds / 3600)
    # Labelled stretches with their margins of 0.5 s and 2 s; the last one ends with its recording.
    busy = 5.5 + 5.5 + 4.0 + 3.5
    assert figures["event_free_hours"] == pytest.approx((seconds - busy) / 3600)
    assert overall["false_per_hour"] == pytest.approx(2 * 3600 / seconds)
    assert overall["false_per_event_free_hour"] == pytest.approx(2 * 3600 / (seconds - busy))
    assert 0.25 <= high["delay_median_seconds"] <= 1.5
    assert high["average_precision"] > 0.8
    assert high["auc"] > 0.95
    assert figures["labels_without_event"] == {"middle": 1}


async def test_figures_for_people_name_every_event_and_what_no_event_stands_for(scenes):
    text = await printed(Options(scenes))
    for expected in ("low", "high", "all events", "best common on", "PSDS 1", "delay", "middle (1)"):
        assert expected in text


async def direct(scenes, tmp_path):
    """What `replay --scores` writes, arranged by hand for the library."""
    table = tmp_path / "scores.tsv"
    files = [scenes.parent / name for name in ("one.wav", "two.wav", "quiet.wav")]
    using = scorer()
    with table.open("w") as out:
        await replay(MADE, files, Printer(MADE, io.StringIO(), out), using)
    using.close()
    with table.open() as lines:
        rows = list(csv.DictReader(lines, dialect="excel-tab"))
    scores, durations = {}, {}
    for file in files:
        mine = [row for row in rows if row["source"] == str(file)]
        durations[str(file)] = soundfile.info(file).duration
        middles = np.array([float(row["time"]) for row in mine]) - 0.5
        edges = np.concatenate(([0.0], (middles[1:] + middles[:-1]) / 2, [durations[str(file)]]))
        values = np.array([[float(row["low"]), float(row["high"])] for row in mine])
        scores[str(file)] = library().base_modules.scores.create_score_dataframe(
            values, edges, ["low", "high"]
        )
    truth = {
        str(files[0]): [(6.0, 9.0, "low"), (15.0, 18.0, "high")],
        str(files[1]): [(15.0, 16.5, "high")],
        str(files[2]): [],
    }
    return scores, truth, durations


async def test_psds_and_event_f1_equal_the_library_called_directly_on_the_same_timeline(scenes, tmp_path):
    figures = json.loads(await printed(Options(scenes, json=True)))
    scores, truth, durations = await direct(scenes, tmp_path)
    scenarios = {
        "psds1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0},
        "psds2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
    }
    for name, scenario in scenarios.items():
        value, by_event, *_ = library().intersection_based.psds(
            scores, truth, durations, **scenario, alpha_st=1.0, unit_of_time="hour", max_efpr=100.0
        )
        assert figures["overall"][name] == pytest.approx(value, abs=1e-6)
        assert by_event["high"] > 0.0
        for event in ("low", "high"):
            assert figures["events"][event][name] == pytest.approx(by_event[event], abs=1e-6)
    f1, *_ = library().collar_based.fscore(
        scores, truth, 0.5, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
    )
    for event in ("low", "high"):
        assert figures["events"][event]["event_f1"] == pytest.approx(f1[event], abs=1e-6)
    assert figures["overall"]["event_f1"] == pytest.approx(f1["macro_average"], abs=1e-6)


async def heard(scenes):
    using = scorer()
    try:
        found = await hear(MADE, read_manifest(scenes, list(MADE.events)), using)
    finally:
        using.close()
    return found


async def test_deciding_anew_at_the_configured_thresholds_gives_the_tallies_of_the_run(scenes):
    found = await heard(scenes)
    evaluation = evaluate_timelines(MADE, {str(file): each for file, each in found.items()})
    thresholds = {name: event.on_threshold for name, event in MADE.events.items()}
    anew = tally_at(MADE, thresholds, list(found.values()))
    assert anew == {name: figures.alerts for name, figures in evaluation.events.items()}


async def test_no_other_common_threshold_is_better_than_the_best(scenes):
    found = list((await heard(scenes)).values())
    threshold, best = best_common_threshold(MADE, found)
    for other in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, threshold):
        tallies = tally_at(MADE, dict.fromkeys(MADE.events, other), found)
        low, high = tallies["low"], tallies["high"]
        assert (low + high).f1 <= best.f1


async def test_event_free_recordings_alone_give_false_alarms_per_hour(scenes):
    scenes.write_text("path,label\nquiet.wav,\n")
    figures = json.loads(await printed(Options(scenes, json=True)))
    assert figures["overall"]["false_per_hour"] == pytest.approx(120.0)
    assert figures["overall"]["recall"] is None
    assert figures["best_common_threshold"] is None
    assert "all events" in await printed(Options(scenes))


async def test_pictures_are_drawn_of_curves_and_of_each_recording_with_events(scenes, tmp_path, capsys):
    await printed(Options(scenes, plot=tmp_path / "out.png"))
    drawn = [Path(line.removeprefix("drawn: ")) for line in capsys.readouterr().err.splitlines()]
    assert [path.name for path in drawn] == ["out.png", "out_one.png", "out_two.png", "out_quiet.png"]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none/out.png", r"--plot '.*/none/out.png' can't be written: '.*/none' is no folder"),
        ("out.jpog", r"--plot '.*' can't be drawn: give a name that ends in .png, .svg or .pdf"),
        ("out", r"--plot '.*' can't be drawn: give a name that ends in .png, .svg or .pdf"),
    ],
)
async def test_a_picture_that_cannot_be_is_told_in_a_line_before_anything_is_run(
    scenes, tmp_path, name, says
):
    def not_yet(_):
        pytest.fail("a model was loaded")

    with pytest.raises(MonitorError, match=says):
        await evaluate(MADE, Options(scenes, plot=tmp_path / name), Scorer(not_yet))


async def test_a_confusion_of_labelled_stretches_is_refused(scenes):
    with pytest.raises(ConfigError, match=r"--confusion: is for whole clips, .* leave it out"):
        await printed(Options(scenes, confusion=True))


async def test_labels_behind_a_recordings_end_are_told_with_their_lines_before_anything_is_run(scenes):
    def not_yet(_):
        pytest.fail("a model was loaded")

    scenes.write_text("path,label,onset,offset\none.wav,cow,24,25\none.wav,low,6,9\none.wav,low,600,601\n")
    with pytest.raises(ConfigError) as error:
        await evaluate(MADE, Options(scenes), Scorer(not_yet))
    assert error.value.lines == (
        f"{scenes}:2: onset 24 is behind the end of 'one.wav' at 24.000 s",
        f"{scenes}:4: onset 600 is behind the end of 'one.wav' at 24.000 s",
    )


async def test_a_recording_lasts_as_long_as_it_is_though_its_last_window_is_filled_up(tmp_path):
    write_scene(tmp_path / "short.wav", (500, 0.3))
    write_scene(tmp_path / "long.wav", (None, 2.1))
    (tmp_path / "labels.csv").write_text("path,label,onset,offset\nshort.wav,low,0,9\nlong.wav,,,\n")
    figures = json.loads(await printed(Options(tmp_path / "labels.csv", json=True)))
    assert figures["hours"] == pytest.approx(2.4 / 3600)
    assert (figures["events"]["low"]["right"], figures["events"]["low"]["psds1"]) == (1, pytest.approx(1.0))


async def test_without_the_extra_the_line_to_install_it_is_told_before_anything_is_run(scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "sed_scores_eval", None)
    with pytest.raises(
        MonitorError, match=r"eval needs sed_scores_eval; pip install 'sound-monitor\[eval\]'"
    ):
        await printed(Options(scenes))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MonitorError, match=r"--plot needs matplotlib.figure; pip install"):
        await printed(Options(scenes, plot=scenes.parent / "out.png"))


@pytest.fixture
def clips(tmp_path):
    """Two low clips, one of them longer than the encoder takes at once, and two high, one of them low."""
    write_scene(tmp_path / "a.wav", (500, 0.3))
    write_scene(tmp_path / "b.wav", (500, 15))
    write_scene(tmp_path / "c.wav", (2000, 3))
    write_scene(tmp_path / "d.wav", (500, 3))
    path = tmp_path / "clips.csv"
    path.write_text("path,label\na.wav,low\nb.wav,low\nc.wav,squeak\nd.wav,squeak\n")
    return path


async def test_clips_are_told_apart_and_confused(clips):
    figures = json.loads(await printed(Options(clips, ["squeak=high"], json=True)))
    assert figures["accuracy"] == 0.75
    assert figures["events"] == {
        "low": {"clips": 2, "accuracy": 1.0},
        "high": {"clips": 2, "accuracy": 0.5},
    }
    assert figures["confusion"] == {"low": {"low": 2}, "high": {"low": 1, "high": 1}}
    text = await printed(Options(clips, ["squeak=high"], confusion=True))
    assert "low (1)" in text
    assert "rows sounded, columns were told" in text


async def test_the_confusion_of_clips_is_drawn(clips, tmp_path, capsys):
    await printed(Options(clips, ["squeak=high"], plot=tmp_path / "confusion.png"))
    assert capsys.readouterr().err == f"drawn: {tmp_path / 'confusion.png'}\n"
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


async def test_clips_without_a_label_are_told_to_be_left_out(clips, capsys):
    with clips.open("a") as file:
        file.write("e.wav,\n")
    write_scene(clips.parent / "e.wav", (None, 1))
    figures = json.loads(await printed(Options(clips, ["squeak=high"], json=True)))
    assert figures["clips"] == 4
    assert capsys.readouterr().err == "left out: clips without a label (1)\n"


async def test_silent_clips_are_refused_with_their_lines(clips):
    for name in ("b.wav", "d.wav"):
        soundfile.write(clips.parent / name, np.zeros(40_000), 16_000)
    with pytest.raises(ConfigError) as error:
        await printed(Options(clips, ["squeak=high"]))
    assert error.value.lines == (
        f"{clips}:3: 'b.wav' holds nothing but silence; leave it out",
        f"{clips}:5: 'd.wav' holds nothing but silence; leave it out",
    )


async def test_clips_of_an_event_without_prompts_are_refused_before_anything_is_run(clips):
    made = config(
        {"unused": {"type": "demo"}},
        {"low": {"level": {"above_dbfs": -30}}, "high": {"examples": ["c.wav"]}, "middle": "x"},
    )
    with pytest.raises(ConfigError) as error:
        await evaluate(made, Options(clips), Scorer(lambda _: pytest.fail("a model was loaded")))
    says = "has no prompts, which clips are told apart by; leave it out"
    assert error.value.lines == (f"{clips}:2: low {says}", f"{clips}:3: low {says}")


async def test_a_clip_with_two_labels_is_refused(clips):
    clips.write_text("path,label\na.wav,low\na.wav,high\n")
    with pytest.raises(ConfigError, match=r"a.wav: has several labels \(high, low\)"):
        await printed(Options(clips))
