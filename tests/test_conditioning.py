"""Gain and high-pass: right at every frequency, the same for every partition, quiet after a gap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.conditioning import Conditioner, HighPass
from monitor.config import DemoSource, FileSource
from monitor.pcm import level_dbfs
from monitor.sources import open_source
from monitor.types import AudioBlock

RATE = 48_000


def noise(count, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def block(samples, position=0, *, gap=False):
    samples.flags.writeable = False
    return AudioBlock("mic", position, RATE, samples, 0.0, gap)


def conditioner(**options):
    return Conditioner(DemoSource(type="demo", **options), RATE)


def tone(hz, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


@given(
    seed=st.integers(0, 1_000),
    cuts=st.lists(st.integers(0, 3_000), max_size=8),
    corner_hz=st.sampled_from([10.0, 80.0, 300.0, 2_000.0]),
)
def test_any_partition_gives_the_same_sound(seed, cuts, corner_hz):
    samples = noise(3_000, seed) + np.float32(0.5)
    whole = HighPass(corner_hz, RATE).process(samples)
    filtered = HighPass(corner_hz, RATE)
    parts = [filtered.process(part) for part in np.split(samples, sorted(cuts))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-7)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("corner_hz", [10, 80, 2_000])
def test_it_is_the_butterworth_filter_of_second_order(corner_hz, rate_hz):
    signal = pytest.importorskip("scipy.signal")
    samples = noise(20_001)
    sections = signal.butter(2, corner_hz, "highpass", fs=rate_hz, output="sos")
    expected, _ = signal.sosfilt(
        sections, samples.astype(np.float64), zi=signal.sosfilt_zi(sections) * samples[0]
    )
    np.testing.assert_allclose(HighPass(corner_hz, rate_hz).process(samples), expected, atol=1e-6)


@pytest.mark.parametrize(("hz", "db"), [(25, -24.1), (50, -12.3), (100, -3.0), (1_000, 0.0)])
def test_lower_sound_is_taken_away(hz, db):
    heard = conditioner(high_pass_hz=100).process(block(tone(hz))).samples[RATE // 2 :]
    assert level_dbfs(heard) - level_dbfs(tone(hz)) == pytest.approx(db, abs=0.1)


def test_an_offset_makes_no_thump_at_the_beginning_and_after_a_gap():
    conditioned = conditioner(high_pass_hz=80)
    first = conditioned.process(block(np.full(4_800, 0.5, np.float32)))
    after = conditioned.process(block(np.full(4_800, -0.5, np.float32), 9_600, gap=True))
    assert np.abs(first.samples).max() < 1e-6
    assert np.abs(after.samples).max() < 1e-6


@pytest.mark.parametrize("db", [-60.0, -6.0, 20.0])
def test_gain_changes_the_level_by_as_much(db):
    heard = conditioner(gain_db=db).process(block(tone(1_000)))
    assert level_dbfs(heard.samples) == pytest.approx(-3.0 + db, abs=0.02)
    assert not heard.samples.flags.writeable
    assert heard.samples.dtype == np.float32


def test_without_settings_the_block_is_the_very_same():
    given_block = block(noise(100))
    assert conditioner().process(given_block) is given_block


class TestClipping:
    def test_samples_at_full_scale_are_counted_before_the_gain(self):
        conditioned = conditioner(gain_db=-20)
        samples = np.array([0.5, 1.0, -1.0, 32_767 / 32_768, 0.99], np.float32)
        conditioned.process(block(samples))
        assert conditioned.clipped == 3
        conditioned.process(block(noise(100)))
        assert conditioned.clipped == 0

    def test_gain_alone_clips_nothing(self):
        conditioned = conditioner(gain_db=20)
        assert np.abs(conditioned.process(block(0.5 * tone(1_000))).samples).max() == pytest.approx(5.0, 0.01)
        assert not conditioned.overdriven

    def test_an_input_that_is_set_too_high_is_told_and_forgiven(self):
        conditioned = conditioner()
        for _ in range(3):
            conditioned.process(block(np.clip(4 * tone(440, 0.05), -1, 1)))
        assert conditioned.overdriven
        for _ in range(3_000):
            conditioned.process(block(0.5 * tone(440, 0.05)))
        assert not conditioned.overdriven

    def test_a_recording_that_was_normalised_is_fine(self):
        conditioned = conditioner()
        for _ in range(100):
            samples = noise(4_800)
            samples[7] = 1.0
            conditioned.process(block(samples))
        assert not conditioned.overdriven


async def test_the_listener_hears_conditioned_sound_and_tells_of_clipping(tmp_path, caplog):
    import asyncio

    import soundfile
    from prometheus_client import CollectorRegistry, generate_latest

    from monitor.batching import Batcher
    from monitor.config import Config
    from monitor.listening import Listener
    from monitor.metrics import Metrics

    soundfile.write(tmp_path / "loud.wav", np.sign(tone(440)), RATE, subtype="FLOAT")
    whole = Config.model_validate({"sources": {"mic": {}}, "events": {"dog": "a dog"}})
    registry, heard = CollectorRegistry(), []
    listener = Listener(
        "mic",
        FileSource(type="file", path=tmp_path / "loud.wav", realtime=False, gain_db=-20, high_pass_hz=50),
        whole.windows,
        RATE,
        Batcher(1),
        Metrics(registry, whole),
        open_source=open_source,
        lossless=False,
        changed=lambda *_: asyncio.sleep(0),
        heard=heard.append,
    )
    await listener.run()
    samples = np.concatenate([each.samples for each in heard])
    assert level_dbfs(samples) == pytest.approx(-20.0, abs=0.3)
    assert 'sound_monitor_clipped_samples_total{source="mic"} 47' in generate_latest(registry).decode()
    assert "source mic: comes in at full scale, clipped; lower its level" in caplog.text
