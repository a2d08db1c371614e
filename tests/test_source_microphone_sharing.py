"""Channels of one device as sources of their own: one process, lost and back together."""

import asyncio
import contextlib

import numpy as np
import pytest
import soundfile
from microphone_kit import first_failure, hear, helpers, listen
from pulse import pulse_server

from monitor.config import MicrophoneSource
from monitor.pcm import level_dbfs
from monitor.sources import open_source
from monitor.sources.sharing import Captures

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stereo_server():
    with pulse_server(channels=2) as pulse:
        yield pulse


@pytest.fixture
def stereo(stereo_server, monkeypatch):
    hear(stereo_server, monkeypatch)
    return stereo_server


@pytest.fixture
def captures(stereo):
    return Captures()


class TestSharing:
    def channel(self, number, captures, device="room_mic"):
        return open_source("mic", MicrophoneSource(device=device, channel=number), 48_000, captures)

    async def test_two_channels_of_one_device_are_two_sources_of_one_process(
        self, stereo, captures, tmp_path
    ):
        tone = 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(96_000) / 48_000)
        soundfile.write(tmp_path / "left.wav", np.stack([tone, 0 * tone], axis=1), 48_000)
        async with contextlib.AsyncExitStack() as stack:
            left, right = await asyncio.gather(
                stack.enter_async_context(self.channel(1, captures)),
                stack.enter_async_context(self.channel(2, captures, "ROOM_mic")),
            )
            assert len(helpers()) == 1
            stereo.play(tmp_path / "left.wav")
            on_the_left, on_the_right = await asyncio.gather(listen(left, 2.0), listen(right, 2.0))
        assert max(level_dbfs(block.samples) for block in on_the_left) == pytest.approx(-13.5, abs=1.0)
        assert max(level_dbfs(block.samples) for block in on_the_right) == -np.inf
        assert not helpers()

    async def test_both_are_lost_together_and_come_back_in_one_process(self, captures):
        async with self.channel(1, captures) as one, self.channel(1, captures) as two:
            await listen(two, 0.2)
            (process,) = helpers()
            process.kill()
            errors = [await first_failure(source) for source in (one, two)]
        assert [error.startswith("device 'room_mic' is gone: ") for error, _ in errors] == [True, True]
        async with self.channel(1, captures) as one, self.channel(1, captures) as two:
            assert len(helpers()) == 1
            assert (await anext(one)).position == (await anext(two)).position == 0

    async def test_the_first_can_go_and_the_second_hears_on(self, captures):
        async with self.channel(2, captures) as second:
            async with self.channel(1, captures) as first:
                await listen(first, 0.2)
            blocks = await listen(second, 0.5)
            assert not any(block.gap for block in blocks)
            assert len(helpers()) == 1

    async def test_a_channel_that_comes_later_opens_the_device_anew_for_both(self, captures):
        async with self.channel(1, captures) as first:
            await listen(first, 0.2)
            async with self.channel(2, captures) as second:
                error, _ = await first_failure(first)
                assert error == "device 'room_mic' is opened anew, for channel 2 too"
                async with self.channel(1, captures) as again:
                    await asyncio.gather(anext(again), anext(second))
                    assert len(helpers()) == 1

    async def test_one_that_does_not_listen_loses_counted_samples_and_holds_nobody_up(
        self, captures, monkeypatch
    ):
        monkeypatch.setattr("monitor.sources.sharing._QUEUE_SECONDS", 0.3)
        async with self.channel(1, captures) as idle, self.channel(1, captures) as busy:
            assert len(await listen(busy, 1.5)) > 10
            blocks = [await anext(idle)]
            while not blocks[-1].gap:
                blocks.append(await anext(idle))
        assert idle.overflows == 1
        assert busy.overflows == 0
        assert blocks[-1].position > 48_000
