"""Being let in by a real mosquitto: passwords, TLS, and what is told when it isn't to be."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mosquitto import Certificates, Mosquitto, free_port, mosquitto
from mqtt_kit import (
    FAST,
    an_event,
    broker,
    config_for,
    delivered,
    outbox,
    retained,
    running,
    until,
    warnings,
)

from monitor.config import MqttConfig, TlsConfig
from monitor.errors import SinkError
from monitor.outbox import Outbox
from monitor.sinks.connection import resolve_password
from monitor.sinks.mqtt import MqttSink

__all__ = ["broker", "outbox"]  # fixtures
pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


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


async def test_an_event_that_the_broker_refuses_is_told_by_topic_and_waits_until_it_is_allowed(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
):
    """MQTT 5 tells of a refusal in the acknowledgement, and an event must not leave the outbox on it."""
    access = "topic write elsewhere/#\n"
    with mosquitto(tmp_path, access=access) as broker:
        async with running(MqttSink(config_for(broker, version="5"), outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await until(lambda: sink.publish_failures and sink.last_error)
            assert sink.last_error == (
                f"MQTT broker 127.0.0.1:{broker.port}: refuses messages to sound-monitor/hall/event "
                "(Not authorized); allow it in its access list"
            )
            assert outbox.backlog.pending == 1
            for _ in range(4):
                failures = sink.publish_failures
                await until(lambda before=failures: sink.publish_failures > before)
            (broker.folder / "access").write_text("topic write sound-monitor/#\n")
            broker.reload()
            await delivered(outbox)
    told = warnings(caplog)
    assert any("messages to sound-monitor/hall/event (Not authorized)" in line for line in told)
    assert not any("client id" in line for line in told)


async def test_announcements_that_the_broker_refuses_hold_up_neither_events_nor_states(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
):
    announcement = "homeassistant/event/sound-monitor/hall/config"
    refused = (
        f": refuses messages to {announcement} (Not authorized); allow it in its access list, "
        "or set mqtt.homeassistant.enabled: false"
    )
    with mosquitto(tmp_path, access="topic deny homeassistant/#\ntopic readwrite #\n") as broker:
        async with running(MqttSink(config_for(broker, version="5"), outbox, **FAST)) as sink:
            sink.retain(announcement, b"{}")
            sink.set_source_status("hall", True)
            await sink.publish(an_event(1))
            await delivered(outbox)
            broker.kill()
            broker.start()
            await sink.publish(an_event(2))
            await delivered(outbox)
            found = await retained(broker)
            assert found["status"] == found["hall/status"] == "online"
            assert found["hall/dog_bark/state"] == "ON"
            failures = sink.publish_failures
            sink.retain(announcement, b"")
            await until(lambda: sink.publish_failures > failures)
        told = [line.partition(str(broker.port))[2] for line in warnings(caplog)]
        assert told.count(refused) == 1
        assert len([line for line in told if announcement in line]) == 1


async def test_availability_that_the_broker_refuses_holds_up_no_event(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
):
    access = "topic deny sound-monitor/status\ntopic readwrite sound-monitor/#\n"
    with mosquitto(tmp_path, access=access) as broker:
        async with running(MqttSink(config_for(broker, version="5"), outbox, **FAST)) as sink:
            await sink.publish(an_event(1))
            await delivered(outbox)
    refusal = "refuses messages to sound-monitor/status (Not authorized); allow it in its access list"
    assert warnings(caplog) == [f"MQTT broker 127.0.0.1:{broker.port}: {refusal}"]


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
