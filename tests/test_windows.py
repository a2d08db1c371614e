"""Windows are exact to the sample, however the audio arrives."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.types import AudioBlock, Window
from monitor.windows import WindowCutter

RATE_HZ = 100


def block(samples, position, *, gap=False, source="hall", rate_hz=RATE_HZ):
    return AudioBlock(
        source, position, rate_hz, np.asarray(samples, np.float32), 1_000.0 + position / rate_hz, gap
    )


def ramp(start, count):
    return (np.arange(start, start + count) % 1000 / 1000).astype(np.float32)


def cut(blocks, window_seconds=1.0, hop_seconds=0.25) -> list[Window]:
    cutter = WindowCutter("hall", RATE_HZ, window_seconds, hop_seconds)
    return [window for each in blocks for window in cutter.push(each)]


def describe(windows):
    return [
        (w.position, w.samples.tolist(), round(w.start_time, 6), round(w.end_time, 6), w.level_dbfs)
        for w in windows
    ]


@given(
    total=st.integers(0, 700),
    cuts=st.lists(st.integers(0, 700), max_size=30),
    window=st.integers(1, 150),
    data=st.data(),
)
def test_any_partition_of_a_signal_gives_the_same_windows(total, cuts, window, data):
    hop = data.draw(st.integers(1, window))
    edges = sorted({0, total, *(cut_at for cut_at in cuts if cut_at < total)})
    parts = [block(ramp(a, b - a), a) for a, b in itertools.pairwise(edges)]
    seconds = (window / RATE_HZ, hop / RATE_HZ)
    whole = cut([block(ramp(0, total), 0)], *seconds)
    assert describe(cut(parts, *seconds)) == describe(whole)
    assert [w.position for w in whole] == list(range(0, total - window + 1, hop))
    for each in whole:
        assert np.array_equal(each.samples, ramp(each.position, window))


@given(total=st.integers(1, 700), window=st.integers(1, 150), data=st.data())
def test_with_flush_every_sample_is_in_a_window_and_only_silence_is_added(total, window, data):
    hop = data.draw(st.integers(1, window))
    cutter = WindowCutter("hall", RATE_HZ, window / RATE_HZ, hop / RATE_HZ)
    cutter_windows = [*cutter.push(block(ramp(1, total), 0)), *cutter.flush()]
    assert list(cutter.flush()) == []
    covered = set()
    for each in cutter_windows:
        inside = range(each.position, min(each.position + window, total))
        covered.update(inside)
        assert np.array_equal(each.samples[: len(inside)], ramp(1 + each.position, len(inside)))
        assert not each.samples[len(inside) :].any()
        assert each.end_time == pytest.approx(1_000.0 + (each.position + window) / RATE_HZ)
    assert covered == set(range(total))
    assert all(each.position + window <= total for each in cutter_windows[:-1])


def test_window_carries_the_times_of_its_first_and_last_sample():
    (first, second) = cut([block(ramp(0, 130), 0)])
    assert (first.start_time, first.end_time) == (1_000.0, 1_001.0)
    assert second.start_time == pytest.approx(1_000.25)


@pytest.mark.parametrize("lost", ["flag", "position"])
def test_no_window_spans_a_gap(lost):
    after = block(ramp(500, 100), 150 if lost == "flag" else 300, gap=lost == "flag")
    windows = cut([block(ramp(0, 150), 0), after])
    assert [w.position for w in windows] == [0, 25, 50, after.position]
    assert np.array_equal(windows[-1].samples, ramp(500, 100))


def test_samples_are_read_only_and_survive_later_audio():
    cutter = WindowCutter("hall", RATE_HZ, 1.0, 1.0)
    (first,) = cutter.push(block(ramp(0, 100), 0))
    list(cutter.push(block(ramp(100, 500), 100)))
    assert np.array_equal(first.samples, ramp(0, 100))
    with pytest.raises(ValueError, match="read-only"):
        first.samples[0] = 1.0


def test_level_is_that_of_the_newest_hop():
    quiet_then_loud = np.concatenate([np.full(100, 0.001), np.full(25, 0.1)])
    _, window = cut([block(quiet_then_loud, 0)])
    assert window.level_dbfs == pytest.approx(-20.0, abs=0.01)


def test_level_of_a_first_window_is_that_of_all_of_it():
    loud_then_silent = np.concatenate([np.full(25, 0.1), np.zeros(175)])
    windows = cut([block(loud_then_silent[:150], 0), block(loud_then_silent, 500, gap=True)])
    assert [window.level_dbfs for window in windows[:2]] == [pytest.approx(-26.02, abs=0.01), -np.inf]
    assert [window.level_dbfs for window in windows[3:5]] == [pytest.approx(-26.02, abs=0.01), -np.inf]


def test_level_of_a_short_recording_is_that_of_what_it_has():
    cutter = WindowCutter("hall", RATE_HZ, 1.0, 0.25)
    assert list(cutter.push(block(np.concatenate([np.full(10, 0.1), np.zeros(30)]), 0))) == []
    (window,) = cutter.flush()
    assert window.level_dbfs == pytest.approx(-26.02, abs=0.01)


def test_digital_silence_is_minus_infinity():
    (window,) = cut([block(np.zeros(100), 0)])
    assert window.level_dbfs == float("-inf")


@pytest.mark.parametrize("wrong", [{"source": "attic"}, {"rate_hz": 200}])
def test_a_block_of_another_source_or_rate_is_refused(wrong):
    with pytest.raises(ValueError, match="given to hall at 100 Hz"):
        cut([block(ramp(0, 10), 0, **wrong)])


def test_a_hop_longer_than_the_window_is_refused():
    with pytest.raises(ValueError, match="hop of 200 samples"):
        WindowCutter("hall", RATE_HZ, 1.0, 2.0)
