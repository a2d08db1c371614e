"""Whatever comes in from outside: it is used, or refused in one clear line, and nothing else ever happens."""

import asyncio
import contextlib
import logging
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from fuzz_inputs import (
    CASES,
    CONNECT,
    mutated,
    mutated_tree,
    odd_text,
    odd_values,
    packet,
    packets,
    requests,
    sounds,
    tables,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from metrics_kit import CONFIG as METRICS_CONFIG
from mosquitto import free_port
from prometheus_client import CollectorRegistry
from scenes import HOUSE
from tones import ToneEncoder

from monitor.check import report
from monitor.config import Config, MqttConfig
from monitor.config_file import load_config
from monitor.errors import ConfigError, MonitorError, SinkError, SourceError
from monitor.evaluation.manifest import read_manifest
from monitor.examples import Heard, embed_unrelated, hear
from monitor.metrics import Metrics
from monitor.pcm import LIMIT
from monitor.sinks.broker import EmbeddedBroker
from monitor.sinks.connection import Message, connect
from monitor.sources.file import Decoder
from monitor.tail import line_of
from monitor.web import serve

FOLDER = Path(__file__).resolve().parent.parent / "config"
EVERY_KEY = (FOLDER / "every-key.yaml").read_bytes()
TREE = yaml.safe_load(EVERY_KEY)
ENCODER = ToneEncoder()
UNRELATED = Heard(2.0, embed_unrelated(ENCODER, 2.0))
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def fuzz(share: float):
    """Run a test on its share of all cases; those that are slow get fewer."""
    return settings(
        max_examples=round(CASES * share),
        derandomize=CASES <= 1200,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=list(Phase) if CASES <= 1200 else [Phase.generate],  # shrinking a finding takes minutes
    )


def one_clear_line(error: MonitorError, begins: str = "") -> None:
    """An error is text for the user: a line for each finding, of printable characters."""
    lines = error.lines if isinstance(error, ConfigError) else [str(error)]
    assert lines
    for line in lines:
        assert line.isprintable(), line
        assert len(line) < 2000, line
        assert line.startswith(begins), line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    if base is None:
        yield tmp_path_factory.mktemp("fuzz")
        return
    import tempfile

    with tempfile.TemporaryDirectory(dir=base, prefix="fuzz-") as made:
        yield Path(made)


@fuzz(0.08)
@given(data=st.one_of(mutated([EVERY_KEY], most=3), mutated_tree(TREE), st.binary(max_size=300)))
def test_configurations(folder, data):
    path = folder / "config.yaml"
    path.write_bytes(data)
    try:
        config = load_config(path, {"MQTT_PASSWORD": "x", "X": "1"})
    except ConfigError as error:
        one_clear_line(error, begins=str(path))
    else:
        lines, warnings = report(config, path)
        for line in (*lines, *warnings):
            assert line.isprintable(), line


@fuzz(0.2)
@given(data=sounds())
def test_sound_files(folder, data):
    path = folder / "sound.wav"
    path.write_bytes(data)
    try:
        decoder = Decoder(path, 16_000, 0.1)
        with contextlib.closing(decoder):
            for _ in range(200):
                samples, last = decoder.read()
                assert samples.ndim == 1
                assert samples.dtype == np.float32
                # The resampler overshoots a little.
                assert np.abs(samples).max(initial=0.0) <= 2 * LIMIT
                if last:
                    break
    except SourceError as error:
        one_clear_line(error)


@fuzz(0.2)
@given(data=sounds())
def test_examples(folder, data):
    path = folder / "example.wav"
    path.write_bytes(data)
    config = Config.model_validate({"sources": {"room": {}}, "events": {"tune": {"examples": [path]}}})
    try:
        heard, learned = hear(config, ENCODER, UNRELATED)
    except ConfigError as error:
        one_clear_line(error)
    else:
        assert np.isfinite(learned["tune"].direction).all()
        assert all(np.isfinite(row).all() for row in heard.examples.values())


@fuzz(0.24)
@given(data=tables(), suffix=st.sampled_from([".csv", ".tsv"]))
def test_manifests(folder, data, suffix):
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    path = folder / f"labels{suffix}"
    path.write_bytes(data)
    try:
        manifest = read_manifest(path, ["dog", "dog_bark"], {"Dog": "dog"})
    except ConfigError as error:
        one_clear_line(error)
    else:
        assert manifest.recordings
        for found in manifest.recordings.values():
            assert all(0.0 <= each.onset < each.offset for each in found)


class Loop:
    """An event loop in a thread, and all that was complained of on it."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(repr(context)))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._log = logging.Handler(logging.WARNING)
        self._log.emit = lambda record: self.complaints.append(f"{record.name}: {record.getMessage()}")
        logging.getLogger().addHandler(self._log)

    def complained(self) -> list[str]:
        """Return what was complained of since the last call."""
        said, self.complaints = self.complaints, []
        return said

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        logging.getLogger().removeHandler(self._log)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def loop():
    running = Loop()
    yield running
    running.close()


TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def http_ports(loop, folder):
    """Two servers: one that is open to this machine, and one that wants a token."""
    from monitor.config import HttpConfig

    (folder / "token").write_text(TOKEN)
    stack = contextlib.AsyncExitStack()

    async def start(token_file):
        registry = CollectorRegistry()
        Metrics(registry, METRICS_CONFIG)
        config = HttpConfig(port=0, token_file=token_file)
        server = serve(config, registry, lambda: HOUSE, lambda: (True, ""), environ={})
        return (await stack.enter_async_context(server)).port

    yield loop.run(start(None)), loop.run(start(folder / "token"))
    loop.run(stack.aclose())


def exchanged(port: int, data: bytes, seconds: float) -> bytes:
    """Send bytes, and return what comes until the other end closes or `seconds` pass."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            connection.sendall(data)
            while chunk := connection.recv(1 << 16):
                received += chunk
                if len(received) > 1 << 20:
                    break
    return received


@fuzz(0.14)
@given(data=requests(), closing=st.booleans(), with_token=st.booleans())
def test_http_requests(loop, http_ports, data, closing, with_token):
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" if closing else b""
    answer = exchanged(http_ports[with_token], data + last, 0.02)
    assert not answer or answer.startswith(b"HTTP/"), answer[:100]
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert status < 500, answer[:200]
    if with_token:
        assert b"kitchen" not in answer
        assert TOKEN.encode() not in answer
    assert not loop.complained()
    # It serves the next one.
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert b" 200 " in exchanged(http_ports[with_token], ask, 10)[:20]


@pytest.fixture(scope="module")
def broker_port(loop):
    broker = EmbeddedBroker(MqttConfig(port=free_port()), environ={})
    loop.run(broker.__aenter__())
    yield broker.port
    loop.run(broker.__aexit__())


async def after_connecting(data: bytes) -> list[Message]:
    """Connect to a broker that accepts and then sends `data`; return what came of it."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(packet(0x20, b"\x00\x00") + data)
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    config = MqttConfig(broker="127.0.0.1", port=server.sockets[0].getsockname()[1])
    received = []
    try:
        async with asyncio.timeout(30), connect(config, environ={}) as link:
            async for message in link.messages():
                received.append(message)  # noqa: PERF401 - those before an error count
    except SinkError as error:
        one_clear_line(error)
    finally:
        server.close()
    return received


def shown(message: Message) -> None:
    """What `tail` prints of a message is one line, whatever is in it."""
    for as_json in (False, True):
        line = line_of(message, as_json=as_json)
        assert line.isprintable(), line


@fuzz(0.14)
@given(
    data=packets(),
    topic=odd_text(),
    payload=st.one_of(st.binary(), odd_values().map(lambda v: repr(v).encode())),
)
def test_mqtt(loop, broker_port, data, topic, payload):
    exchanged(broker_port, data, 0.002)
    exchanged(broker_port, CONNECT + data + packet(0xE0, b""), 0.002)
    for message in loop.run(after_connecting(data)):
        shown(message)
    shown(Message(topic, payload))
    assert not loop.complained()
