"""The MQTT sink against a real mosquitto: topics, states, credentials, TLS, farewells."""
# ruff: noqa: ASYNC221 - a test may block its own event loop

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from forkserver import ForkServer
from mosquitto import Certificates, Mosquitto, free_port, mosquitto
from mqtt_kit import Link, Receiver, an_event, delivered, retained, running, until

from monitor.config import MqttConfig, TlsConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox
from monitor.sinks.connection import _Client, connect, resolve_password
from monitor.sinks.messages import Topics
from monitor.sinks.mqtt import MqttSink, subscribe
from monitor.types import Phase

pytestmark = pytest.mark.real
FAST = {"answer_seconds": 1.0, "retry_seconds": (0.05, 0.2), "environ": {}}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as it:
        yield it


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with Outbox(tmp_path / "outbox.db") as it:
        yield it


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def config_for(broker: Mosquitto, /, **settings: object) -> MqttConfig:
    return MqttConfig(**{"broker": "127.0.0.1", "port": broker.port, **settings})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a user would be warned of, without the pause at its end."""
    records = (record for record in caplog.records if record.levelno >= logging.WARNING)
    return [record.getMessage().split(" (trying")[0] for record in records]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_an_occurrence_is_told_as_events_and_as_state(broker: Mosquitto, outbox: Outbox, version: str):
    start, end = an_event(1), an_event(1, phase=Phase.END)
    async with (
        Receiver(broker) as receiver,
        running(MqttSink(config_for(broker, version=version), outbox, **FAST)) as sink,
    ):
        sink.set_state("hall", "dog_bark", False, {"threshold": 0.5})
        sink.set_source_status("hall", True)
        await until(lambda: receiver.last("status") == "online")
        assert receiver.last("hall/status") == "online"
        assert receiver.last("hall/dog_bark/state") == "OFF"
        await sink.publish(start)
        await delivered(outbox)
        await until(lambda: receiver.last("hall/dog_bark/state") == "ON")
        await sink.publish(end)
        await until(lambda: len(receiver.events) == 2)
        assert receiver.last("hall/dog_bark/state") == "OFF"
        began, ended = receiver.events
        common = {"id": "hall-1", "source": "hall", "event": "dog_bark", "score": 0.75, "threshold": 0.5}
        assert began == {
            **common,
            "phase": "start",
            "started_at": 1700000001.0,
            "ended_at": None,
            "duration_seconds": None,
            "reason": "threshold",
            "clip": None,
        }
        assert ended == {
            **began,
            "phase": "end",
            "ended_at": 1700000010.0,
            "duration_seconds": 9.0,
        }
        attributes = json.loads(receiver.last("hall/dog_bark/attributes") or "")
        assert attributes == {k: ended[k] for k in ended if k not in {"source", "event", "phase"}}
        topics = [topic.removeprefix("sound-monitor/hall/") for topic, _, _ in receiver.messages]
        assert topics.index("event") > topics.index("dog_bark/attributes")
    assert await retained(broker) == {
        "status": "offline",
        "hall/status": "online",
        "hall/dog_bark/state": "OFF",
        "hall/dog_bark/attributes": json.dumps(attributes, separators=(",", ":")),
    }


async def test_a_late_subscriber_finds_states_as_they_are_and_no_events(broker: Mosquitto, outbox: Outbox):
    async with running(MqttSink(config_for(broker, prefix="sound-monitor"), outbox, **FAST)) as sink:
        for name in ("dog_bark", "siren"):
            sink.set_state("hall", name, False)
        await sink.publish(an_event(1))
        sink.set_source_status("yard", False)
        await delivered(outbox)
        await until(lambda: "'sound-monitor/yard/status'" in broker.log)
        found = await retained(broker)
        assert json.loads(found.pop("hall/dog_bark/attributes"))["id"] == "hall-1"
        assert found == {
            "status": "online",
            "hall/dog_bark/state": "ON",
            "hall/siren/state": "OFF",
            "yard/status": "offline",
        }


async def test_what_is_forgotten_goes_from_the_broker(broker: Mosquitto, outbox: Outbox):
    async with running(MqttSink(config_for(broker), outbox, **FAST)) as sink:
        for source in ("hall", "hall_2"):
            sink.set_source_status(source, True)
            for name in ("dog_bark", "dog"):
                sink.set_state(source, name, False, {})
        await until(lambda: not sink.retained.untold and sink.connected)
        topics = Topics("sound-monitor")
        sink.retain_only(topics.retained([("hall", None), ("hall", "dog_bark")]))
        await until(lambda: "hall_2/status', ... (0 bytes)" in broker.log)
    assert set(await retained(broker)) == {
        *("status", "hall/status", "hall/dog_bark/state", "hall/dog_bark/attributes"),
    }


async def test_states_are_told_before_the_monitor_is_called_online(broker: Mosquitto, outbox: Outbox):
    """Nobody is to act on the stale `ON` that a broker kept."""
    subprocess.run(
        [
            "mosquitto_pub",
            "-p",
            str(broker.port),
            "-r",
            "-t",
            "sound-monitor/hall/dog_bark/state",
            "-m",
            "ON",
        ],
        check=True,
    )
    sink = MqttSink(config_for(broker), outbox, **FAST)
    for number in range(100):
        sink.set_state("hall", f"event_{number}", False, {})
    sink.set_state("hall", "dog_bark", False)
    async with Receiver(broker) as receiver, running(sink):
        await until(lambda: receiver.last("status") == "online")
        topics = [topic for topic, _, _ in receiver.messages]
        assert len(topics) == 1 + 201 + 1
        assert topics[-1] == "sound-monitor/status"
        assert receiver.last("hall/dog_bark/state") == "OFF"


async def test_scores_and_levels_are_numbers_and_not_kept_for_later(broker: Mosquitto, outbox: Outbox):
    async with Receiver(broker) as receiver:
        sink = MqttSink(config_for(broker), outbox, **FAST)
        sink.set_score("hall", "dog_bark", 0.1)  # nobody is there to hear it
        async with running(sink):
            await until(lambda: sink.connected)
            sink.set_score("hall", "dog_bark", 0.123456)
            sink.set_level("hall", float("-inf"))
            sink.set_level("yard", -42.04)
            await sink.publish(an_event(1))
            await delivered(outbox)
        await until(lambda: receiver.events and receiver.messages[-1][1] == "offline")
    numbers = [(t, p) for t, p, _ in receiver.messages if "score" in t or "level" in t]
    assert numbers == [
        ("sound-monitor/hall/dog_bark/score", "0.1235"),
        ("sound-monitor/hall/level_dbfs", "-120.0"),
        ("sound-monitor/yard/level_dbfs", "-42.0"),
    ]


async def test_credentials_that_are_refused_are_told_and_tried_again(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "password"
    secret.write_text("first-guess\n")
    with mosquitto(tmp_path, users={"monitor": "right-word"}) as broker:
        config = config_for(broker, username="monitor", password="ignored", password_file=secret)
        async with running(MqttSink(config, outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await until(lambda: broker.log.count("disconnected, not authorised") >= 3)
            assert not sink.connected
            problem = (
                f"MQTT broker 127.0.0.1:{broker.port}: refuses user 'monitor' or the password; "
                "check mqtt.username and the password"
            )
            assert sink.last_error == problem
            assert warnings(caplog) == [problem], "told once"
            assert outbox.backlog.pending == 1
            secret.write_text("right-word\nsecond line\n")
            await delivered(outbox)
            assert sink.connected
            assert sink.last_error is None
    assert "connected to MQTT broker 127.0.0.1" in caplog.text
    for word in ("first-guess", "right-word", "ignored"):
        assert word not in caplog.text


async def test_a_broker_that_wants_a_user_is_told_as_such(tmp_path: Path, outbox: Outbox):
    for version in ("3.1.1", "5"):
        with mosquitto(tmp_path, users={"monitor": "x"}) as broker:
            async with running(MqttSink(config_for(broker, version=version), outbox, **FAST)) as sink:
                await until(lambda: sink.last_error)
                assert sink.last_error == (
                    f"MQTT broker 127.0.0.1:{broker.port}: refuses clients without a user name; "
                    "set mqtt.username and mqtt.password_file"
                )


async def test_a_message_that_the_broker_refuses_is_not_taken_for_delivered(tmp_path: Path, outbox: Outbox):
    """MQTT 5 tells of a refusal in the acknowledgement, and an event must not leave the outbox on it."""
    access = "topic write elsewhere/#\n"
    with mosquitto(tmp_path, access=access) as broker:
        async with running(MqttSink(config_for(broker, version="5"), outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await until(lambda: sink.publish_failures and sink.last_error)
            assert sink.last_error == (
                f"MQTT broker 127.0.0.1:{broker.port}: refuses a message; allow its topic in the access list"
            )
            assert outbox.backlog.pending == 1


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_tls_with_the_right_authority_and_name(
    tmp_path: Path, outbox: Outbox, certificates: Certificates, version: str
):
    with mosquitto(tmp_path, certificates=certificates, client_certificates=True) as broker:
        tls = TlsConfig(
            ca_file=certificates.ca, cert_file=certificates.client, key_file=certificates.client_key
        )
        config = config_for(broker, broker="localhost", tls=tls, version=version)
        async with running(MqttSink(config, outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await delivered(outbox)
            broker.kill()
            broker.start()
            await sink.publish(an_event(2))
            await delivered(outbox)
        pair = ("--cafile", certificates.ca, "--cert", certificates.client, "--key", certificates.client_key)
        found = await retained(broker, "-h", "localhost", *map(str, pair))
        assert found["status"] == "offline"


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"broker": "localhost", "tls": "other_ca"},
            "certificate in certificate chain; set mqtt.tls.ca_file to the authority of its certificate",
        ),
        (
            {"broker": "127.0.0.1", "tls": "ca"},
            (
                "IP address mismatch, certificate is not valid for '127.0.0.1'; "
                "set mqtt.broker to a name in its certificate"
            ),
        ),
        (
            {"broker": "localhost", "tls": None},
            (
                "self-signed certificate in certificate chain; "
                "set mqtt.tls.ca_file to the authority of its certificate"
            ),
        ),
        (
            {"broker": "localhost"},
            "closes the connection at once; check that mqtt.port and mqtt.tls belong together",
        ),
    ],
    ids=["stranger authority", "other name", "system's authorities", "no TLS"],
)
async def test_tls_that_does_not_hold_is_refused_and_told(
    tmp_path: Path, outbox: Outbox, certificates: Certificates, settings: dict, cause: str
):
    if "tls" in settings:
        name = settings["tls"]
        settings = {**settings, "tls": TlsConfig(ca_file=getattr(certificates, name) if name else None)}
    with mosquitto(tmp_path, certificates=certificates) as broker:
        async with running(MqttSink(config_for(broker, **settings), outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await until(lambda: sink.last_error)
            assert sink.last_error
            assert sink.last_error.endswith(cause)
            assert outbox.backlog.pending == 1
            assert "CONNACK" not in broker.log


async def test_what_is_wrong_with_the_way_to_the_broker_is_told(
    broker: Mosquitto, outbox: Outbox, tmp_path: Path, certificates: Certificates
):
    unused = free_port()
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        for settings, expected in (
            (
                {"port": unused},
                (
                    f"MQTT broker 127.0.0.1:{unused}: nothing listens there; "
                    "check that the broker runs, mqtt.broker and mqtt.port"
                ),
            ),
            (
                {"broker": "no-such-host.invalid"},
                f"MQTT broker no-such-host.invalid:{broker.port}: the name can't be resolved (",
            ),
            (
                {"port": silent_port},
                f"MQTT broker 127.0.0.1:{silent_port}: doesn't answer; check the broker and the network",
            ),
            (
                {"tls": TlsConfig(ca_file=certificates.ca)},
                f"MQTT broker 127.0.0.1:{broker.port}: closes the connection at once; ",
            ),
            (
                {"tls": TlsConfig(ca_file=tmp_path / "none.pem")},
                (
                    f"mqtt.tls.ca_file {tmp_path}/none.pem: No such file or directory; "
                    "name the authority's PEM file"
                ),
            ),
            (
                {"tls": TlsConfig(ca_file=text)},
                f"mqtt.tls.ca_file {text}: is not a certificate in PEM form; name the authority's PEM file",
            ),
            (
                {"tls": TlsConfig(cert_file=certificates.client, key_file=certificates.server_key)},
                (
                    f"mqtt.tls.cert_file {certificates.client} and key_file {certificates.server_key}: "
                    "not a pair in PEM form without a password; name the files of a pair"
                ),
            ),
        ):
            async with running(MqttSink(config_for(broker, **settings), outbox, **FAST)) as sink:
                await until(lambda: sink.last_error)
                assert sink.last_error
                assert sink.last_error.startswith(expected)


def test_the_password_comes_from_file_then_credential_then_configuration(tmp_path: Path):
    file, credentials = tmp_path / "password", tmp_path / "credentials"
    file.write_text("from file\r\nrest")
    credentials.mkdir()
    (credentials / "mqtt-password").write_text("from systemd")
    systemd = {"CREDENTIALS_DIRECTORY": str(credentials)}
    full = MqttConfig(username="u", password="from yaml", password_file=file)
    plain = MqttConfig(username="u", password="from yaml")
    assert resolve_password(full, systemd) == "from file"
    assert resolve_password(plain, systemd) == "from systemd"
    assert resolve_password(plain, {}) == "from yaml"
    assert resolve_password(plain, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from yaml"
    assert resolve_password(MqttConfig(username="u"), {}) is None
    assert resolve_password(MqttConfig(), systemd) is None, "no user, no password"


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (lambda path: None, "No such file or directory; make it a file that this user can read"),
        (lambda path: path.mkdir(), "Is a directory; make it a file that this user can read"),
        (lambda path: path.write_text("\nsecond"), "its first line is empty; write the password there"),
        (
            lambda path: path.write_bytes(b"\xff\xfe\x00"),
            "is not text in UTF-8; its first line is the password",
        ),
    ],
)
def test_a_password_file_that_can_not_be_used_is_named(
    tmp_path: Path, write: Callable[[Path], object], cause: str
):
    path = tmp_path / "password"
    write(path)
    with pytest.raises(SinkError) as caught:
        resolve_password(MqttConfig(username="u", password="x", password_file=path), {})
    assert str(caught.value) == f"mqtt.password_file {path}: {cause}"


async def test_a_killed_monitor_is_called_offline_by_its_will(broker: Mosquitto, tmp_path: Path):
    async with Receiver(broker) as receiver:
        with ForkServer() as server:
            arguments = (broker.port, tmp_path / "outbox.db", "a", 100_000)
            publisher = server.start("mqtt_publisher:main", *arguments, output=tmp_path / "out")
            await until(lambda: receiver.last("status") == "online")
            os.kill(publisher, signal.SIGKILL)
            await until(lambda: receiver.last("status") == "offline")
    assert (await retained(broker))["status"] == "offline"


async def test_stop_flushes_says_offline_and_ends_within_its_time(broker: Mosquitto, outbox: Outbox):
    async with Receiver(broker) as receiver:
        async with running(MqttSink(config_for(broker), outbox, **FAST)) as sink:
            await until(lambda: sink.connected)
            for number in range(200):
                await outbox.put(an_event(number))
            began = time.monotonic()
            await sink.stop(5.0)
            assert time.monotonic() - began < 3.0
            assert outbox.backlog.pending == 0
            assert not sink.connected
        await until(lambda: receiver.last("status") == "offline")
        assert len(receiver.events) == 200
    assert "Received DISCONNECT from sound-monitor" in broker.log


@pytest.mark.parametrize("waiting", [0, 3, 500])
async def test_stop_keeps_its_time_though_the_broker_hangs(broker: Mosquitto, outbox: Outbox, waiting: int):
    """What it couldn't say, the broker says for it: the connection is cut, which brings the will."""
    sink = MqttSink(config_for(broker), outbox, environ={})
    async with Receiver(broker) as receiver:
        async with asyncio.TaskGroup() as group:
            group.create_task(sink.run())
            await until(lambda: receiver.last("status") == "online")
            broker.freeze()
            for number in range(waiting):
                await sink.publish(an_event(number))
            began = time.monotonic()
            await sink.stop(1.0)
            assert time.monotonic() - began < 1.5
        assert outbox.backlog.pending == waiting
        broker.thaw()
        await until(lambda: receiver.last("status") == "offline")
    assert (await retained(broker))["status"] == "offline"


async def test_stop_returns_at_once_where_there_is_no_broker(outbox: Outbox, caplog):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        for port in (free_port(), silent.getsockname()[1]):
            sink = MqttSink(MqttConfig(broker="127.0.0.1", port=port), outbox, environ={})
            async with asyncio.TaskGroup() as group:
                group.create_task(sink.run())
                await outbox.put(an_event(port))
                await asyncio.sleep(0.05)
                began = time.monotonic()
                await sink.stop(5.0)
                assert time.monotonic() - began < 0.5
    assert warnings(caplog)[-1] == "MQTT: 2 events wait in the outbox for the next start"


async def test_a_cancelled_sink_lets_the_will_speak(broker: Mosquitto, outbox: Outbox):
    """As when another part of the monitor fails and takes all down."""
    sink = MqttSink(config_for(broker), outbox, **FAST)
    task = asyncio.create_task(sink.run())
    await until(lambda: sink.connected and "'sound-monitor/status'" in broker.log)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: "sound-monitor closed its connection" in broker.log)
    assert (await retained(broker))["status"] == "offline"
    await sink.stop()


async def test_a_sink_cancelled_while_connecting_leaves_no_connection_behind(
    broker: Mosquitto, outbox: Outbox
):
    """A left-over connection would keep the client id from the next sink."""
    async with Link(broker.port) as link:
        config = config_for(broker, port=link.port)
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.03):
            link.delay_seconds = 0.01
            task = asyncio.create_task(MqttSink(config, outbox, **FAST).run())
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: not link._writers)


async def test_two_with_one_client_id_are_told_what_is_wrong(broker: Mosquitto, tmp_path: Path, caplog):
    config = config_for(broker)
    fast = {**FAST, "retry_seconds": (0.2, 0.4)}
    async with (
        Outbox(tmp_path / "a.db") as a,
        Outbox(tmp_path / "b.db") as b,
        running(MqttSink(config, a, **fast)),
        running(MqttSink(config, b, **fast)),
    ):
        hint = (
            f"MQTT broker 127.0.0.1:{broker.port}: closes every connection soon; "
            "does another client use the client id 'sound-monitor'?"
        )
        await until(lambda: hint in warnings(caplog))
        await asyncio.sleep(1.0)
        assert len(warnings(caplog)) < 12, "no flood of warnings"


async def test_subscribe_yields_retained_and_live_messages_over_restarts(broker: Mosquitto, outbox: Outbox):
    config = config_for(broker)
    seen: list[tuple[str, bytes, bool]] = []

    async def tail() -> None:
        async for message in subscribe(config, ["sound-monitor/#"], retry_seconds=(0.05, 0.1)):
            seen.append((message.topic, message.payload, message.retained))  # noqa: PERF401 - endless

    async with running(MqttSink(config, outbox, **FAST)) as sink:
        await until(lambda: sink.connected and "'sound-monitor/status'" in broker.log)
        task = asyncio.create_task(tail())
        await until(lambda: ("sound-monitor/status", b"online", True) in seen)
        await sink.publish(an_event(1))
        await until(lambda: any(topic == "sound-monitor/hall/event" for topic, _, _ in seen))
        broker.kill()
        broker.start()
        seen.clear()
        await until(lambda: any(payload == b"online" for _, payload, _ in seen))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_subscription_that_is_refused_is_told(tmp_path: Path, caplog):
    with mosquitto(tmp_path, users={"u": "p"}) as broker:
        config = config_for(broker, username="u", password="wrong")
        tail = subscribe(config, ["#"], environ={}, retry_seconds=(0.05, 0.1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(tail), 0.5)
        await tail.aclose()
    assert warnings(caplog)[0].endswith("check mqtt.username and the password")


async def test_a_connection_that_broke_raises(broker: Mosquitto):
    async def be_cut_off() -> None:
        async with connect(config_for(broker), environ={}) as link:
            broker.kill()
            async for _ in link.messages():
                pass

    async with asyncio.timeout(10):
        with pytest.raises(SinkError, match="the connection broke"):
            await be_cut_off()


@pytest.mark.parametrize("after", [b"", b"\x82\x02\x00\x01", b"\x30\x04\x00\x01ab" * 1000])
async def test_a_connection_lost_as_soon_as_it_was_accepted_is_noticed(after: bytes):
    async def accept_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x02\x00\x00" + after)
        writer.close()

    server = await asyncio.start_server(accept_and_close, "127.0.0.1", 0)
    config = MqttConfig(broker="127.0.0.1", port=server.sockets[0].getsockname()[1])

    async def listen() -> None:
        async with asyncio.timeout(20), connect(config, environ={}) as link:
            async for _ in link.messages():
                pass

    for _ in range(20):
        with pytest.raises(SinkError):
            await listen()
    server.close()


async def test_a_broker_that_sends_nonsense_with_its_acceptance_is_left_at_once(caplog, monkeypatch):
    connecting = _Client._client_connect

    def connect_and_come_late(client: _Client) -> None:
        connecting(client)
        time.sleep(0.1)  # a busy machine's thread: everything has been read before anyone waits for it

    async def accept_and_babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x02\x00\x00" + b"\x32\x07\x00\x03aK\x8d\x00\x01")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept_and_babble, "127.0.0.1", 0) as server:
        config = MqttConfig(broker="127.0.0.1", port=server.sockets[0].getsockname()[1])
        monkeypatch.setattr(_Client, "_client_connect", connect_and_come_late)
        async with asyncio.timeout(5):
            with pytest.raises(SinkError, match="sent what isn't MQTT after it had accepted"):
                async with connect(config, environ={}):
                    pass
    gc.collect()
    assert not caplog.records, "an error that nobody has looked at is told when it is collected"
