"""A model and the one thread that owns it: loading, texts, batches, and one rebuild after a failure."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from monitor.config import Config, EncoderConfig
from monitor.encoders import load_encoder
from monitor.errors import EncoderError
from monitor.examples import Heard, hear
from monitor.heads import Head, prompts_of
from monitor.prototypes import AudioPrototype
from monitor.types import Encoder, FloatArray, Window
from monitor.veto import veto_head

_log = logging.getLogger(__name__)
A = TypeVar("A")
T = TypeVar("T")
_Calls = queue.SimpleQueue[Callable[[], None] | None]


class ModelThread:
    """A single daemon thread that runs calls in order.

    Not a ThreadPoolExecutor: the interpreter waits for those at exit, and a model that is still loading
    must not hold up a shutdown. It ends when nobody holds it any more.
    """

    def __init__(self) -> None:
        self._calls: _Calls = queue.SimpleQueue()
        threading.Thread(target=_work, args=[self._calls], name="model", daemon=True).start()
        self._end = weakref.finalize(self, self._calls.put, None)

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` on the thread and return what it returns or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def call() -> None:
            try:
                result, error = function(), None
            except BaseException as raised:  # noqa: BLE001 - handed to the waiting task, whatever it is
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the loop has gone: nobody waits any more
                loop.call_soon_threadsafe(finish, result, error)

        self._calls.put(call)
        return await future

    def call(self, function: Callable[[A], T], argument: A) -> T:
        """Do the same for another thread, which waits."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                future.set_result(function(argument))
            except BaseException as raised:  # noqa: BLE001 - handed to the waiting thread, whatever it is
                future.set_exception(raised)

        self._calls.put(call)
        return future.result()

    def close(self) -> None:
        """Let the thread end after the calls it has."""
        self._end()


def _work(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        call()
        del call


@dataclass(frozen=True, slots=True)
class _Between:
    """An encoder for a thread that doesn't own it: window by window, it hears between the owner's batches."""

    encoder: Encoder
    owner: ModelThread

    @property
    def rate_hz(self) -> int:
        return self.encoder.rate_hz

    def embed_audio(self, windows: Sequence[Window]) -> FloatArray:
        return np.concatenate([self.owner.call(self._embed, window) for window in windows])

    def _embed(self, window: Window) -> FloatArray:
        return self.encoder.embed_audio([window])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A loaded encoder and the head for one configuration: what a reload swaps in."""

    thread: ModelThread
    """Has loaded the encoder, and makes every call of it."""
    encoder: Encoder
    encoder_config: EncoderConfig
    texts: Mapping[str, FloatArray]
    """The embedding of every text in the configuration."""
    heard: Heard
    """The embedding of every example in the configuration."""
    head: Head
    veto: Head | None
    """Scores what must not be in a clip; None where nothing is named."""
    halved: bool
    """Score what the history keeps, embeddings in half precision: it then tells what was decided, exactly."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a batch of windows gave, a row each."""

    values: FloatArray
    """Probabilities, shape (B, events)."""
    embeddings: FloatArray
    """Shape (B, D)."""


def _extend(now: Prepared, config: Config) -> Prepared:
    texts = _embed_texts(now.encoder, config, now.texts)
    heard = hear(config, _Between(now.encoder, now.thread), now.heard)
    return _prepare(config, now.thread, now.encoder, texts, *heard)


def _embed_texts(
    encoder: Encoder, config: Config, known: Mapping[str, FloatArray]
) -> Mapping[str, FloatArray]:
    wanted = prompts_of(config)
    missing = [text for text in wanted if text not in known]
    new = dict(zip(missing, encoder.embed_text(missing), strict=True)) if missing else {}
    return {text: new[text] if text in new else known[text] for text in wanted}


def _prepare(
    config: Config,
    thread: ModelThread,
    encoder: Encoder,
    texts: Mapping[str, FloatArray],
    heard: Heard,
    learned: Mapping[str, AudioPrototype],
) -> Prepared:
    head = Head.build(config, texts, encoder.logit_scale, learned, heard.unrelated)
    veto = veto_head(config, texts, encoder.logit_scale)
    return Prepared(thread, encoder, config.encoder, texts, heard, head, veto, config.history is not None)


class Scorer:
    """Scores batches of windows on the thread of the model in use."""

    def __init__(self, load: Callable[[EncoderConfig], Encoder] = load_encoder) -> None:
        self._load = load
        self._prepared: Prepared | None = None
        self._rebuilt = False
        self.rebuilds = 0
        """Times that the model failed and was loaded anew."""

    @property
    def encoder(self) -> Encoder:
        """The encoder in use."""
        return self._in_use.encoder

    @property
    def _in_use(self) -> Prepared:
        if self._prepared is None:
            msg = "no model has been loaded yet"
            raise EncoderError(msg)
        return self._prepared

    async def prepare(self, config: Config) -> Prepared:
        """Load what a configuration needs, without using it yet; raises EncoderError, ConfigError.

        Meanwhile the model in use goes on scoring: another one is loaded on a thread of its own, and what
        is new to the same one is embedded beside it (texts) and between its batches (examples).
        """
        now = self._prepared
        thread = ModelThread()
        if now is None or now.encoder_config != config.encoder:
            return await thread.run(lambda: self._load_for(config, thread))
        try:
            return await thread.run(lambda: _extend(now, config))
        finally:
            thread.close()

    def _load_for(self, config: Config, thread: ModelThread) -> Prepared:
        encoder = self._load(config.encoder)
        texts = _embed_texts(encoder, config, {})
        return _prepare(config, thread, encoder, texts, *hear(config, encoder, None))

    def use(self, prepared: Prepared) -> None:
        """Score with this from the next batch on."""
        now = self._prepared
        if now is not None and now.thread is prepared.thread:
            # The model may have been rebuilt since.
            prepared = replace(prepared, encoder=now.encoder)
        self._prepared = prepared

    def vetoed(self, embeddings: FloatArray) -> FloatArray:
        """Return how sure it is that a row holds what must not be in a clip, shape (B,), 0..1."""
        veto = self._in_use.veto
        return np.zeros(len(embeddings), np.float32) if veto is None else veto.score(embeddings).max(axis=1)

    async def score(self, windows: Sequence[Window]) -> Scored:
        """Embed and score windows.

        After an EncoderError the model is rebuilt once; the second in a row passes through, for
        whoever restarts the process.
        """
        prepared = self._in_use
        try:
            scores = await prepared.thread.run(lambda: self._score(prepared, windows))
        except EncoderError as error:
            if self._rebuilt:
                raise
            _log.warning("the model failed and is being rebuilt: %s", error)
            self._rebuilt = True
            self.rebuilds += 1
            prepared = await prepared.thread.run(lambda: self._rebuild(prepared))
            self._prepared = prepared
            scores = await prepared.thread.run(lambda: self._score(prepared, windows))
        else:
            self._rebuilt = False
        return scores

    def _rebuild(self, prepared: Prepared) -> Prepared:
        return replace(prepared, encoder=self._load(prepared.encoder_config))

    @staticmethod
    def _score(prepared: Prepared, windows: Sequence[Window]) -> Scored:
        events, dimension = prepared.head.prototypes.shape
        if not windows:
            return Scored(np.zeros((0, events), np.float32), np.zeros((0, dimension), np.float32))
        embeddings = prepared.encoder.embed_audio(windows)
        if prepared.halved:
            embeddings = embeddings.astype(np.float16).astype(np.float32)
        return Scored(prepared.head.score(embeddings), embeddings)

    def close(self) -> None:
        """Let the model's thread end."""
        if self._prepared is not None:
            self._prepared.thread.close()
