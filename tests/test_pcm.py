"""Sample maths: what comes out is exact, finite and the same however the input is cut."""

import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.pcm import LIMIT, Resampler, StuckDetector, decode, downmix, frozen, level_dbfs, pick, sanitised

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])


def cut(samples, sizes):
    """Yield the samples in pieces of the given sizes, the last one whatever is left."""
    start = 0
    for size in sizes:
        yield samples[start : start + size]
        start += size
    yield samples[start:]


def noise(seed, count):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


class TestDecode:
    @pytest.mark.parametrize(
        ("encoding", "data", "expected"),
        [
            ("s16le", b"\x00\x80\xff\x7f\x00\x40\x00\x00", [[-1.0, 32767 / 32768], [0.5, 0.0]]),
            ("s32le", b"\x00\x00\x00\x80" + b"\x00\x00\x00\x40", [[-1.0, 0.5]]),
            ("f32le", np.array([0.25, -1.5], "<f4").tobytes(), [[0.25, -1.5]]),
        ],
    )
    def test_full_scale_is_one(self, encoding, data, expected):
        frames = decode(data, encoding, channels=2)
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, expected, rtol=1e-6)

    def test_the_result_does_not_alias_the_bytes(self):
        data = bytearray(np.ones(4, "<f4").tobytes())
        frames = decode(data, "f32le", channels=1)
        data[:] = bytes(len(data))
        assert frames.min() == 1.0

    def test_pick_counts_channels_from_one(self):
        frames = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
        assert pick(frames, 1).tolist() == [1, 4]
        assert pick(frames, 3).tolist() == [3, 6]

    def test_downmix_is_the_mean(self):
        assert downmix(np.array([[1.0, 0.0], [0.5, -0.5]], np.float32)).tolist() == [0.5, 0.0]
        assert downmix(np.array([[0.25], [0.5]], np.float32)).tolist() == [0.25, 0.5]


class TestSanitised:
    def test_clean_samples_pass_untouched(self):
        samples = noise(0, 100)
        assert sanitised(samples) is samples
        assert sanitised(np.zeros(0, np.float32)).size == 0

    def test_broken_values_become_finite(self):
        broken = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5], np.float32)
        assert sanitised(broken).tolist() == [0.0, 0.0, 0.0, LIMIT, -LIMIT, 0.5]

    @given(st.lists(st.floats(width=32), max_size=50))
    def test_never_more_than_the_limit(self, values):
        clean = sanitised(np.array(values, np.float32))
        assert clean.dtype == np.float32
        assert np.isfinite(clean).all()
        assert np.abs(clean).max(initial=0.0) <= LIMIT
        assert math.isfinite(level_dbfs(clean)) or not clean.any()


class TestLevel:
    @pytest.mark.parametrize(
        ("samples", "expected"),
        [([1.0, -1.0], 0.0), ([0.1, -0.1], -20.0), ([0.0, 0.0], -math.inf), ([], -math.inf)],
    )
    def test_level_is_rms_over_full_scale(self, samples, expected):
        assert level_dbfs(np.array(samples, np.float32)) == pytest.approx(expected, abs=1e-5)

    def test_sine_is_three_decibels_below_its_peak(self):
        sine = np.sin(np.arange(48_000) * 2 * np.pi * 1000 / 48_000).astype(np.float32)
        assert level_dbfs(sine) == pytest.approx(-3.0103, abs=1e-3)

    def test_the_faintest_samples_do_not_underflow(self):
        assert level_dbfs(np.full(10, 1e-30, np.float32)) == pytest.approx(-600.0, abs=0.01)


def test_frozen_samples_cannot_be_written():
    samples = frozen(noise(0, 4))
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 1.0


class TestResampler:
    @settings(max_examples=150, deadline=None)
    @given(
        from_hz=RATES,
        to_hz=RATES,
        count=st.integers(0, 20_000),
        sizes=st.lists(st.integers(0, 3_000), max_size=20),
        seed=st.integers(0, 9),
    )
    def test_any_partition_equals_one_piece(self, from_hz, to_hz, count, sizes, seed):
        samples = noise(seed, count)
        resampler = Resampler(from_hz, to_hz)
        pieces = [resampler.process(piece) for piece in cut(samples, sizes)]
        out = np.concatenate([*pieces, resampler.flush()])
        assert len(out) == (2 * count * to_hz + from_hz) // (2 * from_hz)
        whole = soxr.resample(samples, from_hz, to_hz) if count else samples
        np.testing.assert_array_equal(out, whole)

    def test_flush_starts_anew(self):
        samples, resampler = noise(1, 9_999), Resampler(44_100, 48_000)
        first = np.concatenate([resampler.process(samples), resampler.flush()])
        second = np.concatenate([resampler.process(samples), resampler.flush()])
        np.testing.assert_array_equal(first, second)

    def test_output_is_in_time_with_the_input(self):
        time = np.arange(44_100) / 44_100
        resampler = Resampler(44_100, 48_000)
        sine = np.sin(2 * np.pi * 440 * time).astype(np.float32)
        out = np.concatenate([resampler.process(sine), resampler.flush()])
        expected = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
        assert np.abs(out - expected)[1_000:-1_000].max() < 1e-4

    @pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 48_000), (48_000, 44_100), (48_000, 16_000)])
    def test_delivery_is_at_most_as_late_as_documented(self, from_hz, to_hz):
        resampler, given_out = Resampler(from_hz, to_hz), 0
        for number in range(1, 200):
            given_out += len(resampler.process(np.zeros(from_hz // 50, np.float32)))
            late_seconds = number / 50 - given_out / to_hz
            assert late_seconds < 1_100 / min(from_hz, to_hz) + 0.02

    def test_equal_rates_pass_untouched(self):
        samples, resampler = noise(2, 100), Resampler(48_000, 48_000)
        assert resampler.process(samples) is samples
        assert resampler.flush().size == 0


class TestStuckDetector:
    @given(
        values=st.lists(st.tuples(st.sampled_from([0.0, 0.5, -1.0]), st.integers(1, 30)), max_size=12),
        sizes=st.lists(st.integers(0, 40), max_size=12),
        limit=st.integers(1, 60),
    )
    def test_stuck_when_the_last_samples_are_one_value_however_cut(self, values, sizes, limit):
        samples = np.array([value for value, count in values for _ in range(count)], np.float32)
        detector = StuckDetector(limit, rate_hz=1)
        for piece in cut(samples, sizes):
            detector.process(piece)
        tail = samples[-limit:]
        assert detector.stuck == (len(samples) >= limit and bool((tail == tail[0]).all()))

    def test_one_other_value_ends_it(self):
        detector = StuckDetector(1.0, rate_hz=10)
        assert detector.process(np.zeros(10, np.float32))
        assert detector.silent
        assert not detector.process(np.array([0.0, 1e-5, 0.0], np.float32))

    def test_a_constant_is_stuck_but_not_silent(self):
        detector = StuckDetector(1.0, rate_hz=10)
        assert detector.process(np.full(10, -0.1, np.float32))
        assert not detector.silent

    def test_quiet_noise_is_never_stuck(self):
        detector = StuckDetector(0.1, rate_hz=48_000)
        assert not any(detector.process(noise(seed, 4_800) * 1e-6) for seed in range(20))
