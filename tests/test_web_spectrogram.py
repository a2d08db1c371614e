"""The spectrograms that pages draw: right, made once for all, and only while somebody looks."""

import asyncio
import base64
import json
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.types import AudioBlock
from monitor.web import spectrograms as module
from monitor.web.spectrograms import INTERVAL_SECONDS, SOURCES_AT_MOST, Spectrograms
from monitor.web.spectrum import BANDS, CEILING_DBFS, COLUMN_SECONDS, FLOOR_DBFS, Spectrograph

RATE_HZ = 48_000
BEGAN = 1_763_800_000.0


def blocks(samples, sizes, source="kitchen", position=0):
    """Cut samples into blocks of the given sizes, the last one of what is left."""
    cuts = np.cumsum([0, *sizes]).clip(max=len(samples)).tolist()
    if cuts[-1] < len(samples):
        cuts.append(len(samples))
    return [
        AudioBlock(
            source,
            position + start,
            RATE_HZ,
            samples[start:end].astype(np.float32),
            BEGAN + (position + start) / RATE_HZ,
        )
        for start, end in pairwise(cuts)
        if end > start
    ]


def sine(hz, dbfs, seconds=1.0):
    """A tone whose level is `dbfs` as `level_dbfs` has it."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.sqrt(2.0) * 10.0 ** (dbfs / 20.0) * np.sin(2 * np.pi * hz * time)


def columns_of(samples, sizes=()):
    runs = list(Spectrograph(RATE_HZ).push(blocks(samples, sizes)))
    assert len(runs) == 1
    return runs[0]


class TestColumns:
    @pytest.mark.parametrize("hz", [110, 440, 1000, 3000, 9000])
    def test_a_tone_is_a_line_at_its_band_and_level(self, hz):
        _, columns = columns_of(sine(hz, -40.0))
        band = int(columns[3].argmax())
        assert (columns.argmax(axis=1) == band).all()
        level = FLOOR_DBFS + columns[3, band] / 255 * (CEILING_DBFS - FLOOR_DBFS)
        assert level == pytest.approx(-40.0, abs=4.0)  # it may fall between two bands' centres
        assert columns[3].astype(int)[abs(np.arange(BANDS) - band) > 4].max() < columns[3, band] - 100

    def test_higher_tones_are_in_higher_bands(self):
        bands = [int(columns_of(sine(hz, -40.0))[1][3].argmax()) for hz in (100, 300, 1000, 3000, 9000)]
        assert bands == sorted(set(bands))

    def test_silence_is_zero_and_full_scale_is_the_top(self):
        assert not columns_of(np.zeros(RATE_HZ))[1].any()
        assert columns_of(sine(1000, 0.0))[1][3].max() == 255

    def test_no_click_falls_between_two_columns(self):
        for at in range(6000, 12_000, 173):
            samples = np.zeros(24_000)
            samples[at] = 0.5
            assert columns_of(samples)[1].max() > 60

    def test_a_column_is_numbered_by_the_time_at_its_middle(self):
        samples = np.zeros(RATE_HZ)
        samples[24_000:24_100] = sine(5000, -10.0)[:100]
        first, columns = columns_of(samples)
        loudest = first + int(columns.astype(int).sum(axis=1).argmax())
        assert loudest * COLUMN_SECONDS == pytest.approx(BEGAN + 0.5, abs=COLUMN_SECONDS)

    @given(st.lists(st.integers(1, 9_000), max_size=20))
    def test_however_the_sound_is_cut_the_columns_are_the_same(self, sizes):
        samples = 0.1 * np.random.default_rng(1).standard_normal(30_000)
        first, whole = columns_of(samples)
        spectrograph = Spectrograph(RATE_HZ)
        pieces = [run for block in blocks(samples, sizes) for run in spectrograph.push([block])]
        assert np.array_equal(np.concatenate([columns for _, columns in pieces]), whole)
        assert abs(pieces[0][0] - first) <= 1
        assert columns_of(samples, sizes)[1].shape == whole.shape

    def test_a_gap_begins_a_new_run_at_its_own_time(self):
        samples = sine(1000, -40.0)
        before, after = blocks(samples, ()), blocks(samples, (), position=10 * RATE_HZ)
        (first, one), (second, other) = Spectrograph(RATE_HZ).push([*before, *after])
        assert np.array_equal(one, other)
        assert second - first == round(10.0 / COLUMN_SECONDS)

    @pytest.mark.parametrize("rate_hz", [8_000, 16_000, 32_000, 44_100])
    def test_every_rate_gives_twenty_columns_a_second(self, rate_hz):
        noise = (0.1 * np.random.default_rng(1).standard_normal(10 * rate_hz)).astype(np.float32)
        [(_, columns)] = Spectrograph(rate_hz).push([AudioBlock("a", 0, rate_hz, noise, BEGAN)])
        assert columns.shape[1] == BANDS
        assert 195 <= len(columns) <= 200
        assert columns.mean(axis=0).min() > 50


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spectrograms(clock):
    return Spectrograms(clock)


def messages(sent: bytes):
    return [
        json.loads(line.removeprefix("data: ")) for line in sent.decode().splitlines() if line[:4] == "data"
    ]


def seconds_of(sent: bytes) -> float:
    return sum(
        len(base64.b64decode(each["data"])) // each["bands"] * each["seconds"] for each in messages(sent)
    )


class TestWatching:
    async def test_what_nobody_watches_costs_nothing(self, spectrograms, monkeypatch):
        monkeypatch.setattr(module, "Spectrograph", None)  # would raise
        for block in blocks(sine(1000, -40.0), [4800] * 10):
            spectrograms.heard(block)
        with spectrograms.watch(["garage"]) as watcher:
            assert await watcher.next() == b""

    async def test_a_hundred_pages_share_one_computation_away_from_the_event_loop(
        self, spectrograms, clock, monkeypatch
    ):
        threads = []

        class Counted(Spectrograph):
            def push(self, blocks):
                threads.append(threading.current_thread())
                return super().push(blocks)

        monkeypatch.setattr(module, "Spectrograph", Counted)
        watches = [spectrograms.watch(["kitchen"]) for _ in range(100)]
        watchers = [each.__enter__() for each in watches]
        for block in blocks(sine(1000, -40.0), [2400] * 20):
            spectrograms.heard(block)
        sent = await asyncio.gather(*(watcher.next() for watcher in watchers))
        assert len(threads) == 1
        assert threads[0] is not threading.main_thread()
        assert len(set(sent)) == 1
        assert 0.8 < seconds_of(sent[0]) <= 1.0
        assert await watchers[0].next() == b""
        for each in watches:
            each.__exit__(None, None, None)
        assert spectrograms.watched == set()

    async def test_a_slow_page_misses_the_oldest_and_goes_on_with_the_newest(self, spectrograms, clock):
        with spectrograms.watch(["kitchen"]) as slow, spectrograms.watch(["kitchen"]) as lively:
            whole = blocks(sine(1000, -40.0, 60.0), [2400] * 1200)
            received = b""
            for start in range(0, 1200, 5):
                for block in whole[start : start + 5]:
                    spectrograms.heard(block)
                clock.now += INTERVAL_SECONDS
                received += await lively.next()
            assert seconds_of(received) == pytest.approx(60.0, abs=0.1)
            late = await slow.next()
            assert seconds_of(late) == pytest.approx(6.0, abs=0.1)
            assert messages(late)[-1] == messages(received)[-1]

    async def test_a_page_that_opens_its_stream_anew_finds_no_gap(self, spectrograms, clock):
        whole = blocks(sine(1000, -40.0, 4.0), [2400] * 80)
        received = b""
        for start in range(0, 80, 20):
            with spectrograms.watch(["kitchen"]) as watcher:
                for block in whole[start : start + 10]:
                    spectrograms.heard(block)
                clock.now += INTERVAL_SECONDS
                received += await watcher.next()
            for block in whole[start + 10 : start + 20]:
                spectrograms.heard(block)
            clock.now += 1.0
        columns = {
            each["first"] + n for each in messages(received) for n in range(len(each["data"]) * 3 // 4 // 64)
        }
        assert columns == set(range(min(columns), max(columns) + 1))
        assert len(columns) == pytest.approx(70, abs=2)

    async def test_soon_after_the_last_page_has_left_nothing_is_kept(self, spectrograms, clock):
        heard, later = (
            blocks(sine(1000, -40.0, 1.0), [2400] * 20),
            blocks(sine(1000, -40.0), [2400] * 20, position=480_000),
        )
        with spectrograms.watch(["kitchen"]) as watcher:
            for block in heard:
                spectrograms.heard(block)
            assert await watcher.next()
        assert spectrograms.watched == set()
        clock.now += 10.0
        for block in later:
            spectrograms.heard(block)
        with spectrograms.watch(["kitchen"]) as watcher:
            clock.now += INTERVAL_SECONDS
            assert await watcher.next() == b""

    async def test_of_a_source_that_is_gone_or_never_was_nothing_is_kept(self, spectrograms, clock):
        with spectrograms.watch(["removed"]):
            spectrograms.heard(*blocks(sine(1000, -40.0), [], "removed"))
        clock.now += 10.0
        for number in range(100):
            with spectrograms.watch([f"nowhere_{number}"]):
                pass
        assert not spectrograms._watched

    async def test_sound_that_comes_faster_than_it_is_drawn_is_not_kept(self, spectrograms, clock):
        with spectrograms.watch(["kitchen"]) as watcher:
            for block in blocks(sine(1000, -40.0, 60.0), [2400] * 1200):
                spectrograms.heard(block)
            assert seconds_of(await watcher.next()) == pytest.approx(64 * 0.05, abs=0.1)

    async def test_over_the_limit_the_sources_that_came_first_go_on(self, spectrograms):
        names = [f"room_{number}" for number in range(SOURCES_AT_MOST + 5)]
        with spectrograms.watch(names):
            assert spectrograms.watched == set(names[:SOURCES_AT_MOST])
            with spectrograms.watch([names[0], "attic"]) as other:
                assert other.watches
            with spectrograms.watch(["attic"]) as none:
                assert not none.watches
                assert await none.next() == b""
