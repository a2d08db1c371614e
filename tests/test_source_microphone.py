"""Microphones, through PortAudio and a real sound server: heard, muted, frozen, unplugged, back again."""

import asyncio
import contextlib
import socket
import struct
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from microphone_kit import first_failure, hear, helpers, listen, microphone
from pulse import pulse_server

from monitor.errors import SourceError
from monitor.pcm import level_dbfs
from monitor.sources.capture import Ring
from monitor.sources.devices import list_inputs, match
from monitor.sources.helper import PACKET_HEAD, PacketHead

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server():
    with pulse_server(("room", "hall")) as pulse:
        yield pulse


@pytest.fixture
def pulse(server, monkeypatch):
    hear(server, monkeypatch)
    return server


def similarity(heard, played):
    """Return the highest normalised cross-correlation of the recording with any part of what was heard."""
    size = 1 << (len(heard) + len(played)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    lags = np.fft.irfft(spectrum, size)[: len(heard) - len(played)]
    best = int(np.argmax(lags))
    part = heard[best : best + len(played)]
    return lags[best] / np.sqrt(np.sum(part**2) * np.sum(played**2))


class TestHearing:
    @pytest.mark.parametrize("rate_hz", [48_000, 16_000])
    async def test_a_played_bark_arrives(self, pulse, shared, tmp_path, rate_hz):
        whole, file_hz = soundfile.read(shared / "audio/esc10/dog/1-30344-A.ogg", dtype="float32")
        bark = whole[: file_hz // 2]
        soundfile.write(tmp_path / "bark.wav", bark, file_hz)
        async with microphone(rate_hz=rate_hz) as source:
            await anext(source)
            player = pulse.play(tmp_path / "bark.wav")
            blocks = await listen(source, 2.5)
            assert await asyncio.to_thread(player.wait, 10.0) == 0
        heard = np.concatenate([block.samples for block in blocks])
        expected = np.interp(np.arange(rate_hz // 2) / rate_hz, np.arange(len(bark)) / file_hz, bark)
        assert level_dbfs(heard) > -45.0
        assert similarity(heard, expected) > 0.95

    async def test_blocks_are_contiguous_and_dated_by_the_clock(self, pulse):
        async with microphone(rate_hz=16_000) as source:
            blocks = await listen(source, 1.5)
        position = 0
        for block in blocks:
            assert (block.source, block.rate_hz, block.gap) == ("mic", 16_000, False)
            assert block.position == position
            assert 0.0 < len(block.samples) / block.rate_hz <= 0.12
            assert block.samples.dtype == np.float32
            assert not block.samples.flags.writeable
            position += len(block.samples)
        end = blocks[-1].start_time + len(blocks[-1].samples) / 16_000
        assert abs(time.time() - end) < 1.5
        assert source.overflows == 0

    async def test_two_microphones_hear_their_own_rooms(self, pulse, tmp_path):
        tone = 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(96_000) / 48_000)
        soundfile.write(tmp_path / "tone.wav", tone, 48_000)
        async with microphone("room_mic") as room, microphone("HALL") as hall:
            pulse.play(tmp_path / "tone.wav", "hall")
            in_room, in_hall = await asyncio.gather(listen(room, 2.0), listen(hall, 2.0))
        assert max(level_dbfs(block.samples) for block in in_room) == -np.inf
        assert max(level_dbfs(block.samples) for block in in_hall) == pytest.approx(-13.5, abs=1.0)

    async def test_a_second_channel_can_be_chosen(self, pulse):
        async with microphone(channel=2) as source:
            assert (await anext(source)).samples.ndim == 1

    async def test_a_channel_that_is_not_there_is_refused(self, pulse):
        with pytest.raises(SourceError, match="device 'default' has 32 channels: there is no 33"):
            await microphone(channel=33).__aenter__()

    async def test_exact_silence_is_a_problem_until_something_is_heard(self, pulse, tmp_path):
        rng = np.random.default_rng(0)
        soundfile.write(tmp_path / "noise.wav", 0.01 * rng.standard_normal(96_000), 48_000)
        async with microphone(stuck_seconds=1.0) as source:
            await listen(source, 0.5)
            assert source.problem is None
            await listen(source, 1.0)
            assert source.problem == (
                "exact silence for over 1 s: muted, the wrong input, or nothing on its jack?"
            )
            pulse.play(tmp_path / "noise.wav")
            async with asyncio.timeout(10.0):
                async for _ in source:
                    if source.problem is None:
                        break


class TestLoss:
    async def test_an_unplugged_microphone_fails_soon_and_opens_again_when_it_is_back(self, monkeypatch):
        # On its own: with another input left, PulseAudio goes on with that one.
        with pulse_server() as pulse:
            hear(pulse, monkeypatch)
            async with microphone("room_mic") as source:
                await listen(source, 0.3)
                pulse.unplug()
                error, seconds = await first_failure(source)
            assert seconds < 2.0
            assert error == (
                "device 'room_mic' is gone: unplugged, or the sound server stopped; "
                "run `sound-monitor devices` to see what is there"
            )
            with pytest.raises(SourceError) as caught:
                await microphone("room_mic").__aenter__()
            assert str(caught.value) == (
                "device 'room_mic' can't be opened (Input/output error): "
                "is it unplugged, or held by another program?"
            )
            pulse.plug_in()
            async with microphone("room_mic") as source:
                assert (await anext(source)).position == 0

    async def test_a_microphone_that_is_back_under_another_index_is_found_by_its_name(self, monkeypatch):
        with pulse_server() as pulse:
            hear(pulse, monkeypatch)
            async with microphone("room_mic") as source:
                await listen(source, 0.2)
                before = match("room_mic", list_inputs()).index
                pulse.unplug()
                await first_failure(source)
            asoundrc = Path(pulse.environment["HOME"]) / ".asoundrc"
            others = "".join(
                f'pcm.other{number} {{ type pulse hint {{ description "other" }} }}\n' for number in range(3)
            )
            asoundrc.write_text(others + asoundrc.read_text())
            pulse.plug_in()
            assert match("room_mic", list_inputs()).index != before
            async with microphone("room_mic") as source:
                assert (await anext(source)).position == 0

    async def test_a_lost_microphone_is_found_again_while_another_hears_on(self, pulse):
        async with microphone("hall_mic") as other:
            before = await listen(other, 0.2)
            (helper,) = helpers()
            async with microphone("room_mic") as source:
                await listen(source, 0.2)
                (lost,) = [each for each in helpers() if each != helper]
                lost.kill()
                error, _ = await first_failure(source)
                assert error.startswith("device 'room_mic' is gone: ")
            async with microphone("room_mic") as source:
                await listen(source, 0.2)
            after = await listen(other, 0.5)
        blocks = [*before, *after]
        assert not any(block.gap for block in blocks)
        assert sum(len(block.samples) for block in blocks) == after[-1].position + len(after[-1].samples)
        assert other.overflows == 0

    async def test_a_device_that_is_absent_at_the_start_is_told_by_name(self, pulse):
        with pytest.raises(SourceError, match=r"^device 'webcam' is not there, .*'hall_mic'"):
            await microphone("webcam").__aenter__()
        assert not helpers()

    async def test_without_a_sound_server_opening_fails_in_one_line(self, pulse, monkeypatch):
        monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
        with pytest.raises(SourceError) as caught:
            await microphone("room_mic").__aenter__()
        assert "\n" not in str(caught.value)
        assert not helpers()

    async def test_a_frozen_sound_server_is_noticed_and_closing_does_not_hang(self, pulse):
        async with contextlib.AsyncExitStack() as stack:
            source = await stack.enter_async_context(microphone())
            await listen(source, 0.3)
            pulse.freeze()
            stack.callback(pulse.thaw)
            error, seconds = await first_failure(source)
            assert 0.9 < seconds < 3.0
            assert error == (
                "the default input gave no sound for 1 s; run `sound-monitor devices` to see what is there"
            )
            began = time.monotonic()
            await source.__aexit__(None, None, None)
            assert time.monotonic() - began < 4.0
            assert not helpers()

    async def test_a_frozen_sound_server_does_not_hang_the_opening(self, pulse, monkeypatch):
        monkeypatch.setattr("monitor.sources.sharing._OPEN_SECONDS", 1.0)
        pulse.freeze()
        try:
            with pytest.raises(SourceError, match="the default input didn't open within 1 s"):
                await microphone().__aenter__()
        finally:
            pulse.thaw()
        assert not helpers()

    async def test_cancelling_leaves_no_process(self, pulse):
        async def forever():
            async with microphone() as source:
                async for _ in source:
                    heard.set()

        heard = asyncio.Event()
        task = asyncio.create_task(forever())
        await heard.wait()
        assert len(helpers()) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not helpers()

    async def test_cancelling_the_opening_leaves_no_process(self, pulse):
        task = asyncio.create_task(microphone().__aenter__())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not helpers()

    async def test_an_event_loop_that_hangs_loses_counted_samples_and_keeps_the_time(
        self, pulse, monkeypatch
    ):
        monkeypatch.setattr("monitor.sources.sharing._RING_SECONDS", 0.5)
        async with microphone() as source:
            before = (await listen(source, 0.3))[-1]
            # The event loop hangs for longer than socket and ring can hold.
            asyncio.get_running_loop().call_later(0.01, time.sleep, 3.0)
            async with asyncio.timeout(15.0):
                async for block in source:
                    if block.gap:
                        break
                after = (await listen(source, 1.0))[-1]
        assert source.overflows == 1
        passed = after.start_time - before.start_time
        assert passed == pytest.approx((after.position - before.position) / 48_000, abs=0.05)
        assert abs(time.time() - after.start_time) < 1.0


class TestHelper:
    def test_listing_finds_the_virtual_microphones(self, pulse):
        inputs = list_inputs()
        assert {"room_mic", "hall_mic", "default"} <= {each.name for each in inputs}
        assert match(None, inputs).name == "default"
        assert match("hall", inputs).host_api == "ALSA"

    async def test_ctrl_c_and_systemd_s_stop_leave_the_end_to_the_parent(self, pulse):
        async with microphone() as source:
            await listen(source, 0.2)
            (helper,) = helpers()
            helper.send_signal(2)
            helper.terminate()
            await listen(source, 0.5)

    def test_a_helper_ends_with_its_parent(self, pulse):
        import subprocess
        import sys

        code = (
            "import asyncio, os, psutil\n"
            "from monitor.config import MicrophoneSource\n"
            "from monitor.sources import open_source\n"
            "async def main():\n"
            "    async with open_source('mic', MicrophoneSource(), 48000) as source:\n"
            "        async for _ in source:\n"
            "            print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)\n"
            "asyncio.run(main())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        pid = int(done.stdout)
        deadline = time.monotonic() + 5.0
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the helper outlives its parent"
            time.sleep(0.05)


def test_a_full_ring_counts_what_it_loses_and_never_waits():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ring = Ring(slots=2, block_bytes=8)
        blocks = [struct.pack("<2f", number, -number) for number in range(5)]
        ring.fill(blocks[0], 2, False, 0.0)
        ring.fill(blocks[1], 2, False, 1.0)
        ring.fill(blocks[2], 2, True, 2.0)
        ring.fill(blocks[3], 2, False, 3.0)
        assert ring.send(theirs, 0.0)
        ring.fill(blocks[4], 2, False, 4.0)
        assert ring.send(theirs, 0.0)
        assert ring.send(theirs, 0.0)
        assert not ring.send(theirs, 0.01)
        with ours.makefile("rb") as stream:
            packets = []
            for _ in range(3):
                head = PacketHead._make(PACKET_HEAD.unpack(stream.read(PACKET_HEAD.size)))
                packets.append((head, stream.read(8)))
    assert packets == [
        (PacketHead(0, 0, 0.0), blocks[0]),
        (PacketHead(0, 0, 1.0), blocks[1]),
        (PacketHead(4, 1, 4.0), blocks[4]),
    ]
