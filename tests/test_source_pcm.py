"""Raw samples as a source, over real sockets and pipes: pieces, silence, disconnects, strangers, garbage."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtsp import free_port

from monitor.config import PcmSource
from monitor.errors import SourceError
from monitor.sources import open_source
from monitor.sources.pcm import RateWatch
from monitor.sources.stream import RawStream, StalledError

RATE = 16_000


def noise(frames, channels=1, seed=0):
    samples = np.random.default_rng(seed).integers(-8_000, 8_000, (frames, channels))
    return samples.astype("<i2")


def source(rate_hz=RATE, **options):
    return open_source("esp", PcmSource(type="pcm", **options), rate_hz)


@contextlib.asynccontextmanager
async def sender(port, data=b""):
    """Connect as soon as somebody listens."""
    async with asyncio.timeout(5.0):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
    writer.write(data)
    try:
        yield writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def opened(port, data=b"", rate_hz=RATE, **options):
    """A source that listens, and its sender."""
    pcm = source(rate_hz, listen=f"127.0.0.1:{port}", **options)
    opening = asyncio.create_task(pcm.__aenter__())
    async with sender(port, data) as writer:
        await opening
        try:
            yield pcm, writer
        finally:
            await pcm.__aexit__(None, None, None)


async def until_failure(pcm, blocks):
    async def listen():
        async for block in pcm:
            blocks.append(block)

    with pytest.raises(SourceError) as caught:
        await listen()
    return str(caught.value)


def joined(blocks):
    return np.concatenate([block.samples for block in blocks])


class TestListening:
    async def test_samples_are_those_that_were_sent(self):
        sent, blocks = noise(RATE // 2), []
        async with opened(free_port()) as (pcm, writer):
            data = sent.tobytes()
            for start in range(0, len(data), 777):  # odd pieces
                writer.write(data[start : start + 777])
                await writer.drain()
            writer.close()
            error = await until_failure(pcm, blocks)
        assert error.startswith("127.0.0.1:")
        assert error.endswith(" has disconnected")
        np.testing.assert_array_equal(joined(blocks), sent[:, 0] / np.float32(32_768))
        assert not any(block.gap or block.samples.flags.writeable for block in blocks)
        assert abs(time.time() - blocks[0].start_time) < 2.0

    async def test_half_a_frame_at_the_end_is_left_out(self):
        blocks = []
        async with opened(free_port(), noise(100, 2).tobytes() + b"\1\2\3", channels=2) as (pcm, writer):
            writer.close()
            await until_failure(pcm, blocks)
        assert sum(len(block.samples) for block in blocks) == 100

    @pytest.mark.parametrize(("channel", "expected"), [(None, 0.15), (1, 0.1), (2, 0.2)])
    async def test_channels_are_mixed_or_chosen(self, channel, expected):
        frames = np.tile(np.array([0.1, 0.2], "<f4"), (RATE // 5, 1))
        options = {"channels": 2, "channel": channel, "encoding": "f32le"}
        async with opened(free_port(), frames.tobytes(), **options) as (pcm, _):
            np.testing.assert_allclose((await anext(pcm)).samples, expected, rtol=1e-6)

    async def test_another_rate_is_resampled_as_a_stream(self):
        times = np.arange(RATE) / RATE
        sent = (16_384 * np.sin(2 * np.pi * 440 * times)).astype("<i2")
        async with opened(free_port(), rate_hz=48_000) as (pcm, writer):
            blocks, began = [], time.monotonic()
            for part in np.split(sent, 20):
                writer.write(part.tobytes())
            while sum(len(block.samples) for block in blocks) < 20_000:
                blocks.append(await anext(pcm))
            assert time.monotonic() - began < 5.0
        heard = joined(blocks)
        expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 48_000)
        np.testing.assert_allclose(heard[100:], expected[100:], atol=1e-3)
        assert all(block.rate_hz == 48_000 for block in blocks)

    async def test_a_second_sender_is_turned_away_and_the_first_goes_on(self):
        port = free_port()
        async with opened(port) as (pcm, writer):
            async with asyncio.timeout(5.0):
                reader, second = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            second.close()
            writer.write(noise(RATE // 5).tobytes())
            assert len((await anext(pcm)).samples) == RATE // 10

    async def test_a_silent_sender_is_disconnected_and_the_next_one_heard(self):
        port, blocks = free_port(), []
        async with opened(port, noise(RATE // 10).tobytes(), stall_seconds=1) as (pcm, _):
            began = time.monotonic()
            assert (await until_failure(pcm, blocks)).endswith(" sent nothing for 1 s; is it stopped?")
            assert 0.9 < time.monotonic() - began < 3.0
        async with opened(port, noise(RATE // 10, seed=1).tobytes()) as (pcm, _):
            assert (await anext(pcm)).position == 0

    async def test_a_broken_connection_is_told(self):
        blocks = []
        async with opened(free_port(), noise(RATE // 10).tobytes()) as (pcm, writer):
            blocks.append(await anext(pcm))
            linger = struct.pack("ii", 1, 0)  # a reset instead of an orderly end
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            assert "Connection reset by peer" in await until_failure(pcm, blocks)

    async def test_what_is_sent_faster_than_sound_is_left_out_and_memory_stays(self):
        async with opened(free_port()) as (pcm, writer):
            blocks, sent, began = [], 0, time.monotonic()
            chunk = noise(RATE).tobytes()
            while time.monotonic() - began < 1.0:
                writer.write(chunk)
                sent += RATE
                async with asyncio.timeout(5.0):
                    await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        while True:
                            blocks.append(await anext(pcm))
        assert sent > 5 * RATE
        assert sum(len(block.samples) for block in blocks) < 2.0 * RATE
        assert any(block.gap for block in blocks)

    async def test_bytes_that_are_no_floats_are_a_problem(self):
        data = np.random.default_rng(0).integers(0, 256, 4 * RATE, dtype=np.uint8).tobytes()
        async with opened(free_port(), data, encoding="f32le") as (pcm, _):
            block = await anext(pcm)
            assert np.isfinite(block.samples).all()
            assert pcm.problem == "most samples are far beyond full scale: is encoding f32le right?"

    async def test_a_taken_port_is_told(self):
        port = free_port()
        async with opened(port):
            with pytest.raises(
                SourceError, match=f"can't listen on 127.0.0.1:{port}: Address already in use"
            ):
                await source(listen=f"127.0.0.1:{port}").__aenter__()

    async def test_cancelling_while_waiting_frees_the_port(self):
        port = free_port()
        for _ in range(2):
            waiting = asyncio.create_task(source(listen=f"127.0.0.1:{port}").__aenter__())
            async with sender(port):
                pass
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await waiting).__aexit__(None, None, None)


class TestConnecting:
    async def test_it_fetches_from_a_server(self):
        async def serve(reader, writer):
            writer.write(noise(RATE // 5).tobytes())
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            ended.set()

        ended = asyncio.Event()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with source(connect=f"127.0.0.1:{port}") as pcm:
                assert len((await anext(pcm)).samples) == RATE // 10
            await ended.wait()

    async def test_nobody_there_is_told(self):
        port = free_port()
        with pytest.raises(SourceError, match=f"127.0.0.1:{port} can't be reached: Connection refused"):
            await source(connect=f"127.0.0.1:{port}").__aenter__()

    async def test_an_unknown_name_is_told(self):
        with pytest.raises(SourceError, match=r"^nowhere.invalid:1 can't be reached: "):
            await source(connect="nowhere.invalid:1").__aenter__()


PROGRAM = """
import asyncio, sys
from monitor.config import PcmSource
from monitor.sources import open_source
async def main():
    try:
        async with open_source("in", PcmSource(type="pcm", path="-"), 16000) as pcm:
            blocks = [block async for block in pcm]
    except Exception as error:
        sys.exit(str(error))
    seconds = blocks[-1].start_time - blocks[0].start_time
    print(sum(len(b.samples) for b in blocks), any(b.gap for b in blocks), seconds)
asyncio.run(main())
"""


def run(**options):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, timeout=60.0, check=False, **options
    )


class TestStandardInput:
    def test_a_pipe_is_heard_whole_at_the_pace_of_sound(self):
        began = time.monotonic()
        done = run(input=noise(2 * RATE).tobytes())
        count, gap, seconds = done.stdout.split()
        assert (int(count), gap) == (2 * RATE, b"False"), done.stderr
        assert float(seconds) == pytest.approx(1.9, abs=0.01)
        assert time.monotonic() - began > 1.5

    def test_what_is_no_pipe_is_refused_with_the_remedy(self, tmp_path):
        (tmp_path / "a.raw").write_bytes(noise(RATE).tobytes())
        for path in (tmp_path / "a.raw", Path(os.devnull)):
            with path.open("rb") as file:
                done = run(stdin=file)
            assert done.returncode == 1
            assert done.stderr.decode() == (
                "standard input is no pipe; write  PROGRAM | sound-monitor run FILE\n"
            )


@given(
    cuts=st.lists(st.integers(0, 4_003), max_size=20),
    channels=st.sampled_from([1, 2, 3]),
    encoding=st.sampled_from(["s16le", "s32le", "f32le"]),
)
@settings(max_examples=50)
def test_any_partition_of_the_bytes_gives_the_same_frames(cuts, channels, encoding):
    data = np.random.default_rng(1).integers(0, 255, 4_003, dtype=np.uint8).tobytes()
    size = channels * {"s16le": 2, "s32le": 4, "f32le": 4}[encoding]

    async def read(pieces):
        reader = asyncio.StreamReader(limit=2**16)
        stream = RawStream(reader, encoding, channels, 50, first_seconds=5, stall_seconds=5)
        for piece in pieces:
            reader.feed_data(piece)
        reader.feed_eof()
        frames = []
        while (block := await stream.read()) is not None:
            frames.append(block)
        return np.concatenate(frames)

    pieces = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)]
    whole = asyncio.run(read([data]))
    assert whole.shape == (len(data) // size, channels)
    np.testing.assert_array_equal(asyncio.run(read(pieces)), whole)


async def test_a_stream_that_stalls_says_after_how_long():
    stream = RawStream(asyncio.StreamReader(), "s16le", 1, 10, first_seconds=0.01, stall_seconds=1)
    with pytest.raises(StalledError) as caught:
        await stream.read()
    assert caught.value.args == (0.01,)


class TestRate:
    def play(self, came_hz, seconds):
        watch = RateWatch(RATE, 100.0)
        for index in range(1, round(10 * seconds) + 1):
            watch.count(round(came_hz / 10), 100.0 + index / 10)
        return watch.problem

    @pytest.mark.parametrize("came_hz", [RATE, 0.97 * RATE, 1.03 * RATE])
    def test_a_crystal_s_rate_is_fine(self, came_hz):
        assert self.play(came_hz, 31) is None

    def test_another_rate_than_stated_is_a_problem(self):
        assert self.play(44_100, 11).startswith("about 44100 frames a second come, and rate_hz says 16000: ")
        assert self.play(8_000, 31).startswith("about 8000 frames a second come")

    def test_it_takes_ten_seconds_to_tell(self):
        assert self.play(44_100, 9) is None

    def test_a_rate_that_is_wrong_and_unsteady_is_told_once_and_again_after_it_was_right(self):
        watch = RateWatch(RATE, 0.0)
        told = []
        for number, came_hz in enumerate((8_000, 11_000, 14_000, 9_000, RATE, 12_000), start=1):
            watch.count(10 * came_hz, 10.0 * number)
            told.append(watch.problem and watch.problem.split(" frames")[0])
        assert told == [*["about 8000"] * 4, None, "about 12000"]
