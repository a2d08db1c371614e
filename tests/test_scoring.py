"""The thread that owns a model: who may use it meanwhile, and what a reload finds when it is done."""

import asyncio
import threading
from dataclasses import replace

import pytest
import soundfile
from pipeline_kit import EVENTS, config, loaded
from tones import RATE_HZ, ToneEncoder, scene

import monitor.examples
from monitor.config import EncoderConfig
from monitor.errors import ConfigError, EncoderError
from monitor.examples import cut

LARGER = EncoderConfig(max_batch=32)


def sounds(count):
    windows = list(cut(scene((500, 0.5 * count)), RATE_HZ, 0.5))[:count]
    return [replace(window, source="hall") for window in windows]


class Watched(ToneEncoder):
    """Notes who calls it with what, and waits before it embeds the texts of a reload."""

    def __init__(self):
        self.texts = threading.Event()
        self.embedding, self.gate = threading.Event(), threading.Event()
        self.heard: list[tuple[int, str, int]] = []
        self.failures = 0

    def embed_audio(self, windows):
        self.heard.append((threading.get_ident(), windows[0].source, len(windows)))
        if self.failures:
            self.failures -= 1
            raise EncoderError("CUDA error: out of memory")
        return super().embed_audio(windows)

    def embed_text(self, prompts):
        if self.texts.is_set():
            self.embedding.set()
            assert self.gate.wait(20)
        self.texts.set()
        return super().embed_text(prompts)


def with_events(**events):
    return config(
        {"hall": {"type": "microphone"}},
        EVENTS | events,
        windows={"window_seconds": 0.5, "hop_seconds": 0.5},
    )


@pytest.fixture
def made():
    return with_events()


@pytest.fixture
def example(tmp_path):
    soundfile.write(tmp_path / "hum.wav", scene((700, 2)), RATE_HZ)
    return str(tmp_path / "hum.wav")


async def waited(event):
    assert await asyncio.to_thread(event.wait, 20)


async def test_windows_are_scored_while_a_reload_embeds_texts(made):
    encoder = Watched()
    scorer = await loaded(made, lambda _: encoder)
    reloading = asyncio.create_task(scorer.prepare(with_events(humming={"prompts": "humming"})))
    await waited(encoder.embedding)
    async with asyncio.timeout(10):
        for _ in range(3):
            assert (await scorer.score(sounds(2))).values.shape == (2, len(made.events))
    assert not reloading.done()
    encoder.gate.set()
    scorer.use(await reloading)
    assert (await scorer.score(sounds(2))).values.shape == (2, len(made.events) + 1)
    scorer.close()


async def test_windows_are_scored_while_examples_are_read_and_one_thread_hears(made, example, monkeypatch):
    reading, gate = threading.Event(), threading.Event()
    read = monitor.examples.read

    def slowly(*arguments):
        reading.set()
        assert gate.wait(20)
        return read(*arguments)

    monkeypatch.setattr(monitor.examples, "read", slowly)
    encoder = Watched()
    encoder.gate.set()
    scorer = await loaded(made, lambda _: encoder)
    await scorer.score(sounds(2))
    reloading = asyncio.create_task(scorer.prepare(with_events(humming={"examples": [example]})))
    await waited(reading)
    async with asyncio.timeout(10):
        await scorer.score(sounds(3))
    assert not reloading.done()
    gate.set()
    scorer.use(await reloading)
    assert len({thread for thread, _, _ in encoder.heard}) == 1
    by_the_reload = [count for _, source, count in encoder.heard if source != "hall"]
    assert len(by_the_reload) > 40, "unrelated sounds are heard, too"
    assert set(by_the_reload) == {1}, "live windows never wait for more than one"
    scorer.close()


async def test_what_a_reload_embeds_alone_is_what_a_start_embeds_together(made, example):
    wanted = with_events(humming={"prompts": "humming", "examples": [example]})
    started = await loaded(wanted)
    reloaded = await loaded(made)
    reloaded.use(await reloaded.prepare(wanted))
    theirs, ours = [await scorer.score(sounds(4)) for scorer in (started, reloaded)]
    assert (theirs.values == ours.values).all()
    started.close()
    reloaded.close()


async def test_a_model_that_is_rebuilt_while_a_reload_prepares_is_the_one_that_stays(made):
    encoders = [Watched(), Watched()]
    loads = iter(encoders)
    scorer = await loaded(made, lambda _: next(loads))
    reloading = asyncio.create_task(scorer.prepare(with_events(humming={"prompts": "humming"})))
    await waited(encoders[0].embedding)
    encoders[0].failures = 1
    await scorer.score(sounds(1))
    assert scorer.encoder is encoders[1]
    encoders[0].gate.set()
    scorer.use(await reloading)
    assert scorer.encoder is encoders[1]
    assert (await scorer.score(sounds(2))).values.shape == (2, len(made.events) + 1)
    scorer.close()


async def test_a_model_that_fails_at_an_example_refuses_the_reload_and_goes_on_scoring(made, example):
    encoder = Watched()
    encoder.gate.set()
    scorer = await loaded(made, lambda _: encoder)
    encoder.failures = 1
    with pytest.raises(EncoderError, match="out of memory"):
        await scorer.prepare(with_events(humming={"examples": [example]}))
    assert (await scorer.score(sounds(2))).values.shape == (2, len(made.events))
    with pytest.raises(ConfigError, match="mend the path"):
        await scorer.prepare(with_events(humming={"examples": [example + ".gone"]}))
    scorer.close()


async def test_a_model_s_thread_ends_with_it(made):
    threads = []

    def load(_):
        threads.append(threading.current_thread())
        return ToneEncoder()

    scorer = await loaded(made, load)
    scorer.use(await scorer.prepare(made.model_copy(update={"encoder": LARGER})))
    await asyncio.to_thread(threads[0].join, 10)
    assert [thread.is_alive() for thread in threads] == [False, True]
    scorer.close()


async def test_what_a_reload_borrows_a_thread_for_ends_with_the_reload(made):
    scorer = await loaded(made)
    before = set(threading.enumerate())
    await scorer.prepare(with_events(humming={"prompts": "humming"}))
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)
        assert thread.name != "model" or not thread.is_alive()
    scorer.close()
