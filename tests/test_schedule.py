"""Schedules: days, midnight, clocks that are set, and events that begin and end by them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from check_kit import configure
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import ScheduleEntry
from monitor.detection import Detector
from monitor.rules import event_in_words
from monitor.schedule import Schedule, minute_of
from monitor.switches import Switches
from monitor.types import Phase, Reason, Scores

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2025, 3, 24, tzinfo=UTC)


def schedule(*entries, zone=UTC):
    return Schedule([ScheduleEntry.model_validate(entry) for entry in entries], zone)


def at(text, zone=UTC, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


class TestSpans:
    def test_the_beginning_is_in_and_the_end_is_out(self):
        hours = schedule({"from": "08:00", "to": "12:00"})
        times = ["07:59:59", "08:00:00", "11:59:59", "12:00:00"]
        assert [hours.includes(at(f"2025-03-24T{time}")) for time in times] == [False, True, True, False]

    def test_over_midnight_the_day_is_that_of_the_beginning(self):
        night = schedule({"days": "fri", "from": "22:00", "to": "07:00"})
        times = {
            "2025-03-28T06:00": False,  # friday's early morning is thursday's night
            "2025-03-28T21:59": False,
            "2025-03-28T22:00": True,
            "2025-03-29T06:59": True,
            "2025-03-29T07:00": False,
            "2025-03-29T23:00": False,
        }
        assert {time: night.includes(at(time)) for time in times} == times

    def test_sunday_s_night_goes_on_into_monday(self):
        assert schedule({"days": ["sun"], "from": "23:00", "to": "01:00"}).includes(at("2025-03-24T00:30"))

    def test_whole_days_and_several_spans(self):
        hours = schedule({"days": ["sat", "sun"]}, {"from": "20:00", "to": "24:00"})
        days = [f"2025-03-{day}" for day in range(24, 31)]  # monday to sunday
        assert [hours.includes(at(f"{day}T10:00")) for day in days] == [False] * 5 + [True] * 2
        assert all(hours.includes(at(f"{day}T23:59")) for day in days)

    @given(
        st.sampled_from(["00:00", "06:30", "12:00", "23:59"]),
        st.sampled_from(["00:01", "06:30", "18:00", "24:00"]),
        st.integers(0, 7 * 24 * 60 - 1),
    )
    def test_a_span_and_its_rest_of_the_day_are_all_the_time(self, begin, end, minute):
        if begin == end or (begin, end) == ("00:00", "24:00"):
            return
        time = (MONDAY + timedelta(minutes=minute)).timestamp()
        rest = {"from": "00:00" if end == "24:00" else end, "to": "24:00" if begin == "00:00" else begin}
        inside = schedule({"from": begin, "to": end}).includes(time)
        assert inside is not schedule(rest).includes(time)

    def test_minutes_of_the_day(self):
        assert [minute_of(clock) for clock in ("00:00", "07:30", "24:00")] == [0, 450, 1440]


class TestClocksThatAreSet:
    def test_an_hour_that_is_left_out_is_in_no_span_and_what_spans_it_goes_on(self):
        # Germany, 30 March 2025: 02:00 is 03:00.
        gone = schedule({"from": "02:15", "to": "02:45"}, zone=BERLIN)
        night = schedule({"from": "22:00", "to": "03:30"}, zone=BERLIN)
        begin = at("2025-03-30T00:00", BERLIN)
        minutes = [begin + 60 * minute for minute in range(6 * 60)]
        assert not any(gone.includes(time) for time in minutes)
        assert sum(night.includes(time) for time in minutes) == 150  # 3.5 h by the clock, 2.5 h long

    def test_an_hour_that_comes_twice_counts_twice(self):
        # Germany, 26 October 2025: 03:00 is 02:00 again.
        early = schedule({"from": "02:15", "to": "02:45"}, zone=BERLIN)
        begin = at("2025-10-26T00:00", BERLIN)
        assert sum(early.includes(begin + 60 * minute) for minute in range(6 * 60)) == 60

    def test_the_system_s_zone_is_the_default(self, monkeypatch):
        import time

        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        try:
            morning = Schedule([ScheduleEntry.model_validate({"from": "09:00", "to": "10:00"})])
            assert morning.includes(at("2025-03-24T00:30"))
            assert not morning.includes(at("2025-03-24T09:30"))
        finally:
            monkeypatch.undo()
            time.tzset()


@pytest.fixture
def utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
class TestEvents:
    def detector(self, **options):
        config = configure(
            {"dog": {"prompts": "a dog", "schedule": {"from": "22:00", "to": "07:00"}, **options}},
            smoothing={"method": "none"},
        )
        return Detector("room", config, lambda: "id")

    def play(self, detector, begin, values):
        """Give a window every half hour."""
        told = []
        for index, value in enumerate(values):
            time = at(begin) + 1800 * index
            scores = Scores("room", time - 2, time, -10.0, np.array([value], np.float32))
            told += [(event.phase, index, event.reason) for event in detector.process(scores)]
        return told

    def test_it_does_not_begin_outside_its_hours(self):
        assert self.play(self.detector(), "2025-03-24T12:00", [1.0] * 10) == []

    def test_what_lasts_at_the_end_of_its_hours_is_ended_then_and_begins_again_with_them(self):
        told = self.play(self.detector(), "2025-03-24T05:30", [1.0] * 40)
        assert told == [
            (Phase.START, 0, Reason.THRESHOLD),
            (Phase.END, 3, Reason.SCHEDULE),  # at 07:00
            (Phase.START, 33, Reason.THRESHOLD),  # at 22:00
        ]

    def test_outside_its_hours_its_score_is_nothing_and_the_model_is_not_asked(self):
        detector = self.detector()
        self.play(detector, "2025-03-24T05:30", [0.9] * 6)
        assert detector.activities()[0].smooth == 0.0
        assert detector.quietest_dbfs == 0.0

    def test_a_switch_and_a_schedule_must_both_allow_it(self):
        detector = self.detector()
        detector.switch(Switches().turned("room", "dog", on=False))
        assert self.play(detector, "2025-03-24T23:00", [1.0] * 3) == []
        detector.switch(Switches())
        assert self.play(detector, "2025-03-25T01:00", [1.0] * 3) == [(Phase.START, 0, Reason.THRESHOLD)]
        assert self.play(detector, "2025-03-25T12:00", [1.0]) == [(Phase.END, 0, Reason.SCHEDULE)]
        detector.switch(Switches().turned("room", "dog", on=False))
        assert self.play(detector, "2025-03-25T23:00", [1.0] * 3) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"from": "22:00", "to": "07:00"}, "only daily from 22:00 to 07:00, local time"),
        ({"days": "sat"}, "only sat all day, local time"),
        (
            [{"days": ["fri", "mon", "tue", "wed", "thu"], "from": "18:00"}, {"days": ["sat", "sun"]}],
            "only mon to fri from 18:00 to 24:00 and sat, sun all day, local time",
        ),
        (
            {"days": ["mon", "wed", "fri"], "to": "12:00"},
            "only mon, wed, fri from 00:00 to 12:00, local time",
        ),
    ],
)
def test_hours_are_told_in_words(entries, words):
    config = configure({"dog": {"prompts": "a dog", "schedule": entries}})
    assert event_in_words(config, "dog")[-1] == words


def test_recordings_are_replayed_whatever_the_hour(tmp_path):
    import asyncio

    import soundfile

    from monitor.replay import replay
    from monitor.scoring import Scorer

    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(np.arange(3 * 48_000) / 10), 48_000)
    config = configure({"loud": {"level": {"above_dbfs": -30}, "schedule": {"from": "00:00", "to": "00:01"}}})
    events = []

    class Observer:
        def event(self, _file, event):
            events.append(event.phase)

        def scores(self, *_):
            pass

    scorer = Scorer()
    asyncio.run(replay(config, [tmp_path / "a.wav"], Observer(), scorer))
    scorer.close()
    assert events == [Phase.START, Phase.END]
