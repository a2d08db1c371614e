"""ffmpeg as a source: RTSP, HTTP and files; lost, frozen, wrong, absent, and back again."""

import asyncio
import functools
import http.server
import shutil
import threading
import time

import numpy as np
import psutil
import pytest
import soundfile
from prometheus_client import CollectorRegistry
from rtsp import PASSWORD, free_port, rtsp_server

from monitor.batching import Batcher
from monitor.config import Config, FfmpegSource
from monitor.errors import SourceError
from monitor.listening import Listener, cancel
from monitor.metrics import Metrics
from monitor.pcm import level_dbfs
from monitor.sources import open_source
from monitor.sources.ffmpeg import command, script

RATE = 48_000


@pytest.fixture
def rtsp():
    with rtsp_server() as server:
        yield server


@pytest.fixture(scope="module")
def website(tmp_path_factory):
    """A folder that is served by HTTP; yields the folder and its address."""
    folder = tmp_path_factory.mktemp("website")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def tones(tmp_path):
    """A recording of two channels: 1 kHz at -6 dBFS, 2 kHz at -26 dBFS, 0.5 s."""
    times = np.arange(RATE // 2) / RATE
    tones = [0.5 * np.sqrt(2) * np.sin(2e3 * np.pi * times), 0.05 * np.sqrt(2) * np.sin(4e3 * np.pi * times)]
    soundfile.write(tmp_path / "it's two.wav", np.stack(tones, axis=1), RATE, subtype="FLOAT")
    return tmp_path / "it's two.wav"


def configure(url, **options):
    return FfmpegSource(type="ffmpeg", url=str(url), **options)


async def listen(url, count=None, rate_hz=RATE, **options):
    """Return the first blocks of a source, or all."""
    blocks = []
    async with open_source("cam", configure(url, **options), rate_hz) as source:
        async for block in source:
            blocks.append(block)
            if len(blocks) == count:
                break
    return blocks


async def failure(url, **options):
    with pytest.raises(SourceError) as caught:
        await listen(url, **options)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def joined(blocks):
    return np.concatenate([block.samples for block in blocks])


def pitch_hz(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


def children():
    return [child for child in psutil.Process().children() if child.name() == "ffmpeg"]


class Monitor:
    """A real listener, with its supervisor."""

    def __init__(self, config):
        whole = Config.model_validate({"sources": {"cam": {}}, "events": {"dog": "a dog"}})
        self.heard = []
        self.changes = asyncio.Queue()
        self.listener = Listener(
            "cam",
            config,
            whole.windows,
            RATE,
            Batcher(1),
            Metrics(CollectorRegistry(), whole),
            open_source=open_source,
            lossless=False,
            changed=self._changed,
            heard=self.heard.append,
        )

    async def _changed(self, _name, online):
        self.changes.put_nowait(online)

    async def until(self, online):
        async with asyncio.timeout(20.0):
            while await self.changes.get() is not online:
                pass


async def kill_and_revive(rtsp, times):
    monitor = Monitor(configure(rtsp.url, stall_seconds=3))
    task = asyncio.create_task(monitor.listener.run())
    await monitor.until(online=True)
    processes = {process.pid for process in children()}
    for _ in range(times):
        rtsp.kill()
        await monitor.until(online=False)
        await asyncio.to_thread(rtsp.start)
        await monitor.until(online=True)
        assert monitor.heard[-1].position == 0
        (process,) = children()
        assert process.status() != psutil.STATUS_ZOMBIE
        assert process.pid not in processes
        processes.add(process.pid)
    status = monitor.listener.status()
    assert status.restarts >= times
    await cancel(task)
    assert not children()
    assert level_dbfs(monitor.heard[-1].samples) == pytest.approx(-15.0, abs=0.5)


@pytest.mark.real
class TestRtsp:
    async def test_a_camera_is_heard(self, rtsp):
        blocks = await listen(rtsp.url, count=10)
        samples = joined(blocks)
        assert pitch_hz(samples) == pytest.approx(1_000, abs=2)
        assert level_dbfs(samples[RATE // 2 :]) == pytest.approx(-15.0, abs=0.1)
        assert [block.position for block in blocks] == list(range(0, len(samples), RATE // 10))
        assert not any(block.gap for block in blocks)
        assert abs(time.time() - blocks[-1].start_time) < 1.0

    async def test_killed_ten_times_it_is_heard_again_each_time(self, rtsp):
        await kill_and_revive(rtsp, 10)

    async def test_a_frozen_camera_is_noticed_and_closing_does_not_hang(self, rtsp):
        async with open_source("cam", configure(rtsp.url, stall_seconds=1), RATE) as source:
            await anext(source)
            rtsp.freeze()
            frozen_at = time.monotonic()
            with pytest.raises(SourceError, match=r"Connection timed out$|gave no sound for 1 s"):
                async for _ in source:
                    pass
            assert 0.5 < time.monotonic() - frozen_at < 4.0
        assert not children()

    async def test_a_wrong_password_is_told_without_it(self, rtsp):
        error = await failure(rtsp.url.replace("bob", "eve"))
        assert error.startswith(f"ffmpeg can't read 'rtsp://***@127.0.0.1:{rtsp.port}/mic': ")
        assert "401" in error

    async def test_the_password_is_in_no_list_of_processes(self, rtsp):
        async with open_source("cam", configure(rtsp.url), RATE) as source:
            await anext(source)
            (process,) = children()
            assert PASSWORD not in " ".join(process.cmdline())
            assert PASSWORD not in " ".join(process.environ().values())

    async def test_cancelling_leaves_no_process(self, rtsp):
        heard = asyncio.Event()

        async def forever():
            async with open_source("cam", configure(rtsp.url), RATE) as source:
                async for _ in source:
                    heard.set()

        task = asyncio.create_task(forever())
        async with asyncio.timeout(20.0):
            await heard.wait()
        await cancel(task)
        assert not children()


@pytest.mark.real
class TestHttp:
    async def test_a_recording_on_a_server_is_heard_to_its_end(self, website, tones):
        folder, address = website
        shutil.copy(tones, folder / "two.wav")
        assert len(joined(await listen(f"{address}/two.wav", live=False))) == RATE // 2

    async def test_what_a_server_sends_at_once_is_not_taken_for_the_sound_of_now(self, website):
        folder, address = website
        soundfile.write(folder / "long.wav", np.full(10 * RATE, 0.1), RATE)
        blocks, now = [], time.time()

        async def listen_to(source):
            async for block in source:
                blocks.append(block)  # noqa: PERF401 - what came before the failure counts

        async with open_source("radio", configure(f"{address}/long.wav"), RATE) as source:
            with pytest.raises(SourceError, match=r"has ended; for a recording, write  live: false$"):
                await listen_to(source)
        assert len(joined(blocks)) <= 1.5 * RATE
        assert blocks[-1].start_time < now + 3.0

    async def test_a_page_that_is_not_there_is_told(self, website):
        _, address = website
        error = await failure(f"{address}/none.mp3?token={PASSWORD}")
        assert error == f"ffmpeg can't read '{address}/none.mp3?token=***': Server returned 404 Not Found"

    async def test_a_server_that_says_nothing_is_left(self):
        async def hang(reader, writer):
            await reader.read()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            error = await failure(f"http://127.0.0.1:{port}/a.mp3", stall_seconds=1)
        assert error.startswith(f"ffmpeg can't read 'http://127.0.0.1:{port}/a.mp3': ")
        assert not children()

    async def test_a_server_that_is_not_there_is_told(self):
        port = free_port()
        error = await failure(f"http://bob:{PASSWORD}@127.0.0.1:{port}/a.mp3")
        assert error == f"ffmpeg can't read 'http://***@127.0.0.1:{port}/a.mp3': Connection refused"


@pytest.mark.real
class TestFiles:
    async def test_channels_are_mixed_or_chosen(self, tones):
        mixed, first, second = [joined(await listen(tones, channel=channel)) for channel in (None, 1, 2)]
        assert len(mixed) == len(first) == len(second) == RATE // 2
        np.testing.assert_allclose(mixed, (first + second) / 2, atol=1e-6)
        assert level_dbfs(first) == pytest.approx(-6.0, abs=0.1)
        assert level_dbfs(second) == pytest.approx(-26.0, abs=0.1)

    async def test_it_comes_at_its_own_pace_and_at_the_wanted_rate(self, tones):
        began = time.monotonic()
        samples = joined(await listen(tones, channel=1, rate_hz=16_000))
        assert len(samples) == pytest.approx(8_000, abs=20)
        assert 0.4 < time.monotonic() - began < 5.0

    @pytest.mark.parametrize(
        ("url", "reason"),
        [("/nowhere/a.mp3", "No such file or directory"), (__file__, "Invalid data found when processing")],
    )
    async def test_what_cannot_be_read_is_told(self, url, reason):
        error = await failure(url)
        assert error.startswith(f"ffmpeg can't read '{url}': {reason}")
        assert not children()

    async def test_a_channel_that_is_not_there_is_told(self, tones):
        assert (await failure(tones, channel=3)).endswith(": it has no channel 3")

    async def test_without_ffmpeg_the_remedy_is_told(self, tones, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        assert await failure(tones) == "ffmpeg is not installed: apt install ffmpeg"


class TestCommand:
    def test_the_address_is_told_by_the_list_only(self):
        config = configure("rtsp://bob:it's@cam/1", options={"user_agent": "a 'b' \\c"})
        assert not any("bob" in part for part in command(config, RATE))
        assert script(config).splitlines() == [
            "ffconcat version 1.0",
            r"file 'rtsp://bob:it'\''s@cam/1'",
            "option timeout '10000000'",
            "option rtsp_transport 'tcp'",
            r"option user_agent 'a '\''b'\'' \c'",
        ]

    def test_the_user_s_own_options_come_first(self):
        config = configure("rtsp://cam/1", options={"rtsp_transport": "udp", "timeout": 5})
        assert script(config).splitlines()[2:] == ["option rtsp_transport 'udp'", "option timeout '5'"]

    @pytest.mark.parametrize(
        ("url", "limit"),
        [("http://a/b", "rw_timeout"), ("rtmp://a/b", "rw_timeout"), ("rtsps://a/b", "timeout")],
    )
    def test_every_socket_has_a_time_limit(self, url, limit):
        assert f"option {limit} '2500000'" in script(configure(url, stall_seconds=2.5))

    def test_an_address_can_add_no_line(self):
        with pytest.raises(ValueError, match="control character"):
            configure("http://a\noption protocol_whitelist file")
