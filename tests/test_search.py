"""Search: the best moments of a history or of recordings, merged, and equal to comparing by hand."""

import asyncio
import itertools
import json
import math
import shutil

import numpy as np
import pytest
from history_kit import BEGAN, HOUR
from history_writer import kind
from index_kit import PLAIN, indexed
from tones import ToneEncoder, write_scene

from monitor.cli import main
from monitor.config import DEFAULT_BACKGROUND, Config
from monitor.errors import SourceError
from monitor.heads import Head
from monitor.history.folder import Folder, name_at
from monitor.history.segment import Segment, SegmentWriter
from monitor.history.values import Rows
from monitor.past.ask import Scope, ask
from monitor.past.index import Index
from monitor.past.query import Query, Question, embed_query
from monitor.past.report import describe
from monitor.past.search import Found, Moment, search, with_events
from monitor.scoring import Scorer


class Wheel:
    """Two numbers as an embedding, so that a window's score can be chosen."""

    head = Head.build(
        Config.model_validate({"sources": {"a": {}}, "events": {"b": "sought"}, "background": ["rest"]}),
        {"sought": np.array([1.0, 0.0]), "rest": np.array([0.0, 1.0])},
        logit_scale=10.0,
    )
    question = Question(head, "tones-1")

    @staticmethod
    def embedding(score):
        """The unit vector that scores this: sigmoid(10 (cos a - sin a))."""
        x = math.log(score / (1 - score)) / 10
        angle = math.acos(x / math.sqrt(2)) - math.pi / 4
        return [math.cos(angle), math.sin(angle)]


def segment(folder, scores, source="hall", began=BEGAN, encoder="tones-1", hop=1.0):
    """A history of windows with these scores, None for quiet ones."""
    rows = Rows(
        began + hop * np.arange(len(scores)),
        np.full(len(scores), -30.0, np.float32),
        np.arange(len(scores)) == 0,
        np.array([[0, 0] if s is None else Wheel.embedding(s) for s in scores], np.float16),
    )
    (folder / source).mkdir(parents=True, exist_ok=True)
    made = kind(source, encoder)
    made = type(made)(source, encoder, "compact", 2.0, hop, 2)
    writer = SegmentWriter(folder / source / name_at(began), made)
    writer.append(rows)
    writer.close()


def found(folder, **more):
    return search(Folder(folder).segments(), Wheel.question, **more)


def test_neighbouring_windows_are_one_moment_with_the_best_ones_score(tmp_path):
    segment(tmp_path, [0.01] * 20 + [0.6, 0.9, 0.7] + [0.01] * 3 + [0.8] + [0.01] * 30 + [0.5] + [0.01] * 10)
    moments = found(tmp_path, min_gap_seconds=10).moments
    assert [(m.start_time - BEGAN, m.end_time - BEGAN, m.peak_time - BEGAN) for m in moments[:2]] == [
        (18, 26, 21),
        (55, 57, 57),
    ]
    assert [m.score for m in moments[:2]] == pytest.approx([0.9, 0.5], abs=5e-3)
    assert moments[2].score < 0.02
    apart = found(tmp_path, min_gap_seconds=2).moments
    assert [m.peak_time - BEGAN for m in apart[:3]] == [21, 26, 57]


def test_a_long_sound_is_one_moment_and_not_the_whole_list(tmp_path):
    segment(tmp_path, [0.02] * 400 + [0.9, 0.8] * 150 + [0.02] * 400 + [0.6] + [0.02] * 400)
    moments = found(tmp_path, top=2).moments
    assert [(m.end_time - m.start_time, round(m.score, 1)) for m in moments] == [(301.0, 0.9), (2.0, 0.6)]


def test_moments_of_all_sources_and_hours_are_ranked_together_and_never_overlap(tmp_path):
    rng = np.random.default_rng(5)
    for hour in range(3):
        for source in ("hall", "yard"):
            segment(tmp_path, rng.uniform(0.01, 0.99, 900), source, BEGAN + HOUR * hour)
    moments = found(tmp_path, top=50, min_gap_seconds=5).moments
    scores = [m.score for m in moments]
    assert scores == sorted(scores, reverse=True)
    assert {m.source for m in moments} == {"hall", "yard"}
    for source in ("hall", "yard"):
        spans = sorted((m.start_time + 2, m.end_time) for m in moments if m.source == source)
        assert all(later[0] - earlier[1] >= 5 for earlier, later in itertools.pairwise(spans))


def test_a_moment_may_cross_the_hour(tmp_path):
    segment(tmp_path, [0.01] * 50 + [0.9] * 10, began=BEGAN + HOUR - 60)
    segment(tmp_path, [0.9] * 10 + [0.01] * 50, began=BEGAN + HOUR)
    (moment,) = found(tmp_path, top=1).moments
    assert (moment.start_time, moment.end_time) == (BEGAN + HOUR - 12, BEGAN + HOUR + 9)


def test_a_clock_that_was_set_back_gives_moments_in_their_right_order(tmp_path):
    segment(tmp_path, [0.01] * 20, began=BEGAN + 100)
    path = tmp_path / "hall" / name_at(BEGAN + 50)
    rows = Rows(
        np.array([BEGAN + 60.0, BEGAN + 50.0]),
        np.zeros(2, np.float32),
        np.zeros(2, bool),
        np.array([Wheel.embedding(0.9), Wheel.embedding(0.8)], np.float16),
    )
    writer = SegmentWriter(path, Segment.open(Folder(tmp_path).places()[-1].stem).kind)
    writer.append(rows)
    writer.close()
    (moment, *_) = found(tmp_path, min_gap_seconds=15).moments
    assert (moment.start_time, moment.end_time) == (BEGAN + 48, BEGAN + 60)


def test_quiet_windows_and_another_encoders_are_never_found_and_the_latter_are_told(tmp_path):
    segment(tmp_path, [None] * 10 + [0.4] + [None] * 10)
    segment(tmp_path, [0.99] * 7200, "yard", encoder="tones-0", hop=0.5)
    answer = found(tmp_path)
    assert [round(m.score, 1) for m in answer.moments] == [0.4]
    assert (answer.windows, answer.foreign) == (1, {"tones-0": 1.0})


def test_only_the_span_asked_for_is_searched(tmp_path):
    segment(tmp_path, [0.9] * 10 + [0.5] * 10 + [0.8] * 10)
    (moment,) = found(tmp_path, since=BEGAN + 10, until=BEGAN + 20, top=5).moments
    assert (moment.start_time, moment.end_time, round(moment.score, 1)) == (BEGAN + 8, BEGAN + 19, 0.5)


def test_a_segment_that_was_erased_as_a_whole_is_still_known_for_what_it_is(tmp_path):
    segment(tmp_path, [0.5] * 10)
    assert Folder(tmp_path).delete(BEGAN + 100, BEGAN + 100) == (10, 0)
    (sheet,) = describe(Folder(tmp_path), verify=True)
    assert (sheet["encoder"], sheet["windows"], sheet["since"], sheet["damaged"]) == ("tones-1", 0, None, 0)


def test_nothing_heard_gives_nothing(tmp_path):
    assert found(tmp_path / "absent") == Found((), 0, 0.0, {}, {})


def test_a_moment_has_the_events_told_meanwhile_and_a_clip_that_is_still_there(tmp_path):
    def event(begin, end, name, clip, source="hall"):
        return {"source": source, "event": name, "started_at": begin, "ended_at": end, "clip": clip}

    (tmp_path / "there.flac").write_bytes(b"")
    answer = Found((Moment("hall", 10, 20, 15, 0.9, -30),), 1, 0.1, {})
    events = [
        event(18, 30, "bark", "gone.flac"),
        event(5, 11, "whine", "there.flac"),
        event(21, 22, "late", "late.flac"),
        event(15, None, "bark", None),
        event(12, 13, "elsewhere", "x.flac", "yard"),
    ]
    (moment,) = with_events(answer, events, tmp_path).moments
    assert (moment.events, moment.clip) == (("bark", "whine"), "there.flac")
    assert with_events(answer, events).moments[0].clip == "gone.flac"


def tones(query):
    scorer = Scorer(load=lambda _: ToneEncoder())
    question = asyncio.run(embed_query(query, PLAIN, scorer))
    scorer.close()
    return question


def test_words_negatives_and_examples_all_steer_the_search(tmp_path):
    index = indexed(
        tmp_path,
        both=[(None, 1), (500, 2), (None, 1), (2000, 2), (None, 1)],
        low=[(None, 2), (500, 2), (None, 1)],
        noise=[(None, 6)],
    )

    def best(query):
        (moment, *_) = search(index.segments(), tones(query), min_gap_seconds=1).moments
        return moment.source, 4.0 < moment.peak_time < 7.0

    assert best(Query(["a 2000 Hz tone"])) == ("both.wav", True)
    assert best(Query(["a 500 Hz tone"]))[0] in {"both.wav", "low.wav"}
    example = write_scene(tmp_path.parent / "example.wav", (2000, 1.5))
    alike = search(index.segments(), tones(Query(examples=[example]))).moments
    assert {moment.source for moment in alike if moment.score > 0.5} == {"both.wav", "low.wav"}
    found = search(index.segments(), tones(Query(["a 500 Hz tone"], negatives=["a 500 Hz hum"])), top=1)
    assert found.moments[0].score < 0.51
    with pytest.raises(SourceError, match="can't be read: No such file"):
        tones(Query(examples=[tmp_path / "absent.wav"]))


def test_searching_an_index_equals_comparing_by_hand(tmp_path):
    rng = np.random.default_rng(2)
    files = {
        f"r{n}": [(None, 1), (int(rng.choice([500, 1000, 2000])), float(rng.uniform(0.3, 2))), (None, 1)]
        for n in range(12)
    }
    index = indexed(tmp_path, **files)
    encoder = ToneEncoder()
    text = encoder.embed_text(["a 1000 Hz tone", *DEFAULT_BACKGROUND]).astype(np.float64)
    best = {}
    for opened in index.segments():
        stored = np.concatenate([rows.embeddings for rows in opened.blocks()]).astype(np.float64)
        logits = 20.0 * stored @ text.T
        odds = np.exp(logits[:, 0] - logits[:, 1:].max(1)) / np.exp(
            logits[:, 1:] - logits[:, 1:].max(1, keepdims=True)
        ).sum(1)
        best[opened.kind.source] = (odds / (1 + odds)).max()
    answer = search(index.segments(), tones(Query(["a 1000 Hz tone"])), top=12, min_gap_seconds=60)
    assert [m.score for m in answer.moments] == pytest.approx(sorted(best.values(), reverse=True), abs=1e-6)
    assert {m.source: m.score for m in answer.moments} == pytest.approx(best, abs=1e-6)


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def heard(tmp_path, shared):
    """A history of the built-in encoder, made by `replay`, and the configuration that made it."""
    file = tmp_path / "hall.ogg"
    shutil.copy(min((shared / "streams").glob("*ebr18*")), file)
    made = tmp_path / "config.yaml"
    made.write_text("sources: {hall: {}}\nevents: {siren: a siren}\nhistory: {}\n")
    assert command("replay", file, "--config", made, "--history", tmp_path / "history") == 0
    return tmp_path / "history", made


@pytest.mark.real
def test_the_commands_do_what_they_say(heard, tmp_path, capsys):
    history, made = heard
    capsys.readouterr()
    assert (
        command(
            "search",
            "a dog barking",
            "--not",
            "music",
            "--history",
            history,
            "--json",
            "--plot",
            tmp_path / "a.png",
        )
        == 0
    )
    out = json.loads(capsys.readouterr().out)
    assert out["windows"] > 200
    assert out["moments"][0]["source"] == "hall"
    assert (tmp_path / "a.png").stat().st_size > 5_000
    assert command("search", "a dog barking", "--history", history, "--top", 3) == 0
    assert "Searched 0.03" in capsys.readouterr().out
    assert command("backtest", made, "--history", history, "--json") == 0
    out = json.loads(capsys.readouterr().out)
    assert out["events"]["siren"]["new"] == out["events"]["siren"]["gone"] == []
    assert sum(out["events"]["siren"]["histogram"]) == out["windows"]
    assert command("backtest", made, "--history", history) == 0
    assert "minutes of history per second" in capsys.readouterr().out
    assert command("history", "info", "--history", history, "--verify", "--json") == 0
    (sheet,) = json.loads(capsys.readouterr().out)
    assert (sheet["source"], sheet["damaged"]) == ("hall", 0)
    for of in (["history", "delete", "--before", "0s"], ["search", "a dog"], ["backtest", made]):
        assert command(*of, "--history", history, "--source", "hal") == 1
        assert "--source 'hal': nothing of it is kept; there are hall" in capsys.readouterr().err
    assert command("history", "delete", "--history", history, "--before", "1970-01-01T00:01:00+00:00") == 0
    assert "deleted 116 windows" in capsys.readouterr().out
    assert command("history", "info", "--history", history) == 0
    assert "hall" in capsys.readouterr().out


def test_wrong_usage_is_one_line(tmp_path, capsys):
    assert command("search") == 2
    assert 'give words ("a dog barking") or --like' in capsys.readouterr().err
    assert command("search", "x", "--since", "yesterday") == 2
    assert "'yesterday' is no time; write how long ago" in capsys.readouterr().err
    assert command("search", "x", "--min-gap", "5x") == 2
    assert command("search", " ") == 2
    assert "search: ' ' says nothing; describe the sound in words" in capsys.readouterr().err
    assert command("search", "x", "--history", tmp_path) == 1
    assert "holds no history; set `history: {}`" in capsys.readouterr().err
    assert command("history", "info", "--history", tmp_path / "absent") == 1


async def test_the_page_can_ask_while_the_monitor_listens(tmp_path):
    indexed(tmp_path, a=[(None, 2), (1000, 2), (None, 2)])
    scorer = Scorer(load=lambda _: ToneEncoder())
    scorer.use(await scorer.prepare(PLAIN))
    head = scorer._prepared.head
    answer = await ask(Query(["a 1000 Hz tone"]), PLAIN, scorer, Index(tmp_path), Scope(top=1))
    scorer.close()
    assert round(answer.moments[0].score, 2) > 0.9
    assert scorer._prepared.head is head
