"""Recordings as sources: every format, exact samples, real-time pace, loops, and files that are broken."""

import asyncio
import os
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import FileSource
from monitor.errors import SourceError
from monitor.sources import open_source
from monitor.sources.file import Recording


def noise(count, channels=1, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((count, channels)).astype(np.float32)


def write(path, samples, rate_hz=48_000):
    with soundfile.SoundFile(path, "w", rate_hz, samples.shape[1]) as file:
        for start in range(0, len(samples), 4_800):  # libsndfile's Vorbis encoder dies of large writes
            file.write(samples[start : start + 4_800])
    return path


async def collect(path, rate_hz=48_000, count=None, **options):
    config = FileSource(type="file", path=path, **({"realtime": False} | options))
    blocks = []
    async with open_source("file", config, rate_hz) as source:
        async for block in source:
            blocks.append(block)
            if count is not None and len(blocks) == count:
                break
    return blocks


def joined(blocks):
    return np.concatenate([block.samples for block in blocks])


class TestReading:
    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
    async def test_every_format_plays(self, tmp_path, suffix):
        tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(96_000) / 48_000)[:, None]
        blocks = await collect(write(tmp_path / f"tone.{suffix}", tone))
        samples = joined(blocks)
        assert len(samples) == 96_000
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
        assert max(len(block.samples) for block in blocks) <= 48_000

    async def test_samples_are_the_file_s_to_the_bit(self, tmp_path):
        written = noise(100_001)
        soundfile.write(tmp_path / "a.wav", written, 48_000, subtype="FLOAT")
        blocks = await collect(tmp_path / "a.wav")
        np.testing.assert_array_equal(joined(blocks), written[:, 0])
        for block in blocks:
            assert not block.samples.flags.writeable
            np.testing.assert_array_equal(
                block.samples, written[block.position : block.position + len(block.samples), 0]
            )

    async def test_channels_are_mixed_down(self, tmp_path):
        frames = noise(4_800, channels=6)
        soundfile.write(tmp_path / "a.wav", frames, 48_000, subtype="FLOAT")
        np.testing.assert_allclose(joined(await collect(tmp_path / "a.wav")), frames.mean(axis=1), atol=1e-7)

    async def test_another_rate_is_resampled_to_its_exact_length(self, tmp_path):
        blocks = await collect(write(tmp_path / "a.wav", noise(44_101), 44_100), rate_hz=16_000)
        assert len(joined(blocks)) == round(44_101 * 16_000 / 44_100)
        assert {block.rate_hz for block in blocks} == {16_000}

    async def test_blocks_follow_each_other_without_gaps(self, tmp_path):
        blocks = await collect(write(tmp_path / "a.wav", noise(200_000), 44_100))
        position = 0
        for block in blocks:
            assert (block.position, block.gap) == (position, False)
            assert block.start_time - blocks[0].start_time == pytest.approx(position / 48_000, abs=1e-6)
            position += len(block.samples)

    async def test_the_anchor_can_be_given(self, tmp_path):
        config = FileSource(type="file", path=write(tmp_path / "a.wav", noise(4_800)), realtime=False)
        async with Recording("file", config, 48_000, anchor=0.0) as source:
            assert [block.start_time async for block in source] == [0.0]

    async def test_broken_floats_come_out_finite(self, tmp_path):
        samples = noise(9_600)
        samples[100:200] = np.nan
        samples[300] = np.inf
        samples[400] = -1e30
        soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
        assert np.isfinite(joined(await collect(tmp_path / "a.wav"))).all()


class TestLoop:
    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
    async def test_every_round_is_the_same_and_marked_by_a_gap(self, tmp_path, suffix):
        path = write(tmp_path / f"a.{suffix}", noise(30_000), 44_100)
        once = joined(await collect(path))
        blocks = await collect(path, loop=True, count=14)
        seams = [index for index, block in enumerate(blocks) if block.gap]
        assert len(seams) >= 2
        for start, end in zip([0, *seams], seams, strict=False):
            np.testing.assert_allclose(joined(blocks[start:end]), once, atol=1e-4)
        assert [block.position for block in blocks[1:]] == list(
            np.cumsum([len(block.samples) for block in blocks])[:-1]
        )


class TestRealTime:
    async def test_a_recording_takes_its_own_time(self, tmp_path):
        path = write(tmp_path / "a.wav", noise(48_000))
        config = FileSource(type="file", path=path)
        async with open_source("file", config, 48_000) as source:
            began = time.monotonic()
            async for block in source:
                due = (block.position + len(block.samples)) / 48_000
                # Never before its samples could have been heard.
                assert time.monotonic() - began >= due - 0.001
                assert len(block.samples) <= 4_800
                assert time.time() - block.start_time >= len(block.samples) / 48_000 - 0.001
        assert 1.0 <= time.monotonic() - began < 3.0

    async def test_the_event_loop_is_free_while_a_file_plays(self, tmp_path):
        path, ticks = write(tmp_path / "a.wav", noise(24_000)), 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await collect(path, realtime=True)
        ticking.cancel()
        assert ticks > 10

    async def test_playing_can_be_cancelled_at_any_moment(self, tmp_path):
        path = write(tmp_path / "a.wav", noise(480_000))
        playing = asyncio.create_task(collect(path, realtime=True))
        await asyncio.sleep(0.15)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing


def cut(path, fraction=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def corrupt(path):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8_000] = b"\x5a" * 8_000
    path.write_bytes(data)
    return path


class TestBroken:
    async def fails(self, path):
        with pytest.raises(SourceError) as caught:
            await collect(path)
        message = str(caught.value)
        assert message.startswith(repr(str(path)) + " ")
        assert "\n" not in message
        return message[len(repr(str(path))) + 1 :]

    async def test_missing(self, tmp_path):
        assert (
            await self.fails(tmp_path / "no.wav") == "can't be read: No such file or directory; mend the path"
        )

    async def test_folder(self, tmp_path):
        assert await self.fails(tmp_path) == "is a folder; name the recordings in it"

    async def test_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "a.wav")
        assert await self.fails(tmp_path / "a.wav") == "is not a file; name a recording"

    async def test_empty(self, tmp_path):
        (tmp_path / "a.wav").touch()
        assert await self.fails(tmp_path / "a.wav") == "is empty; was it copied whole?"

    async def test_text(self, tmp_path):
        (tmp_path / "a\nb.wav").write_text("not sound, but longer than any header of it would have to be")
        assert (
            await self.fails(tmp_path / "a\nb.wav")
            == "is no WAV, FLAC, OGG or MP3 that can be read: Format not recognised; "
            "convert it (ffmpeg -i IT new.wav)"
        )

    async def test_no_samples(self, tmp_path):
        assert await self.fails(write(tmp_path / "a.wav", noise(0))) == "holds no sound; record it again"

    async def test_absurd_rate(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", noise(10), 10)
        assert await self.fails(tmp_path / "a.wav") == "has a sample rate of 10 Hz; convert it to 48000 Hz"

    async def test_too_many_channels(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", noise(10, channels=65), 48_000)
        assert await self.fails(tmp_path / "a.wav") == "has 65 channels; convert it to one"

    @pytest.mark.parametrize("suffix", ["wav", "flac"])
    async def test_a_cut_off_file_plays_as_far_as_it_goes_and_then_fails(self, tmp_path, suffix):
        path = cut(write(tmp_path / f"a.{suffix}", noise(192_000)))
        config = FileSource(type="file", path=path, realtime=False)
        blocks = []

        async def play():
            async with open_source("file", config, 48_000) as source:
                async for block in source:
                    blocks.append(block)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(SourceError, match=r"(ends|is damaged) after [12]\.\d s.*; replace it"):
            await play()
        assert len(joined(blocks)) > 60_000

    @pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
    async def test_damage_in_the_middle_fails(self, tmp_path, suffix):
        reason = await self.fails(corrupt(write(tmp_path / f"a.{suffix}", noise(192_000))))
        assert "damaged" in reason

    async def test_a_streamed_wav_without_a_length_is_whole(self, tmp_path):
        path = write(tmp_path / "a.wav", noise(48_000))
        data = bytearray(path.read_bytes())
        size_at = data.index(b"data") + 4
        data[size_at : size_at + 4] = b"\xff\xff\xff\xff"
        path.write_bytes(data)
        assert len(joined(await collect(path))) == 48_000

    @settings(max_examples=40, deadline=None)
    @given(
        suffix=st.sampled_from(["wav", "flac", "ogg", "mp3"]),
        keep=st.floats(0.0, 1.0),
        spots=st.lists(st.tuples(st.floats(0.0, 0.999), st.binary(min_size=1, max_size=40)), max_size=5),
    )
    async def test_damaged_files_give_sound_or_a_clean_error(self, tmp_path_factory, suffix, keep, spots):
        path = tmp_path_factory.mktemp("fuzz") / f"a.{suffix}"
        data = bytearray(write(path, noise(20_000, channels=2), 44_100).read_bytes())
        for at, garbage in spots:
            start = int(at * len(data))
            data[start : start + len(garbage)] = garbage
        path.write_bytes(data[: int(keep * len(data))])
        try:
            blocks = await collect(path, count=50)
        except SourceError:
            return
        assert np.isfinite(joined(blocks)).all()


@pytest.mark.real
async def test_real_recordings_play_whole(shared):
    # The MP3's own header leads libsndfile to expect twice its length.
    for name, seconds in (("Animal_Dog1.wav", 0.17), ("Animal_Cat.mp3", 0.50)):
        samples = joined(await collect(shared / "audio" / "debian_scratch" / name))
        assert len(samples) / 48_000 == pytest.approx(seconds, abs=0.02)
        assert np.abs(samples).max() > 0.01
