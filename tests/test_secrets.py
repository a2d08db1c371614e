"""A planted secret is looked for in everything that the monitor shows; none of it may show it."""

import logging
import os
import signal
import subprocess
import sys

import aiohttp
import pytest
import yaml
from conftest import ROOT
from daemon import daemon
from mosquitto import free_port

from monitor.check import report
from monitor.config_file import load_config
from monitor.errors import ConfigError, SinkError
from monitor.log import JsonFormatter, TextFormatter
from monitor.sinks.connection import connect

SECRET = "tr0ub4dor3-xyzzy"
ADDRESS = f"rtsp://hugo:{SECRET}@127.0.0.1:1/stream?token={SECRET}"


def planted(folder, log_format: str = "text") -> dict:
    """A configuration with a secret in every place that takes one."""
    for name in ("password", "token", "hook-token"):
        (folder / name).write_text(SECRET + "\n")
        (folder / name).chmod(0o600)
    return {
        "sources": {"room": {"type": "demo"}, "camera": {"type": "ffmpeg", "url": ADDRESS}},
        "events": {"dog": {"prompts": "a dog barking", "on_threshold": 0.0, "off_threshold": 0.0}},
        "mqtt": {
            "port": free_port(),
            "username": "hugo",
            "password_file": str(folder / "password"),
            "password": SECRET,
        },
        "http": {"port": free_port(), "token_file": str(folder / "token")},
        "webhooks": {
            "pager": {
                "url": f"http://hugo:{SECRET}@127.0.0.1:1/hook?key={SECRET}",
                "headers": {"X-Key": SECRET},
                "token_file": str(folder / "hook-token"),
            }
        },
        "log": {"level": "debug", "format": log_format},
        "state_directory": str(folder / "state"),
    }


@pytest.mark.real
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_a_daemon_shows_no_secret_anywhere(tmp_path, log_format):
    environment = {**os.environ, "SECRET_IN_THE_ENVIRONMENT": SECRET}
    async with daemon(tmp_path, planted(tmp_path, log_format), environment) as running:
        url = await running.url()
        await running.logged(r"dog began", 120)
        await running.logged(r"source camera.*trying again", 120)
        await running.logged(r"pager", 120)
        async with aiohttp.ClientSession() as session:
            for path in ("", "page.js", "status.json", "metrics", "healthz", "nothing"):
                for headers in ({}, {"Authorization": f"Bearer {SECRET}"}):
                    async with session.get(url + path, headers=headers) as response:
                        text = await response.text() + str(response.headers)
                    assert SECRET not in text, path
            async with session.get(f"{url}events", headers=headers) as response:
                assert SECRET.encode() not in await response.content.readuntil(b"\n\n")
        running.config.write_text(running.config.read_text().replace("demo", "demoo"))
        running.signal(signal.SIGHUP)
        await running.logged("configuration stays as it was")
        await running.stop(60)
    assert SECRET not in "\n".join(running.log)
    for file in (tmp_path / "state").rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file


@pytest.mark.real
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_check_and_doctor_show_no_secret(tmp_path, command):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(planted(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-m", "monitor", command, str(tmp_path / "config.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert "camera" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_configuration_does_not_tell_its_secrets(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(planted(tmp_path)))
    config = load_config(path)
    assert SECRET not in repr(config) + str(config)
    lines, warnings = report(config, path)
    assert SECRET not in "\n".join((*lines, *warnings))


@pytest.mark.parametrize(
    "change",
    [
        {"mqtt": {"password": [SECRET]}},
        {"mqtt": {"passwrd": SECRET}},
        {"mqtt": {"broker": f"mqtt://hugo:{SECRET}@broker"}},
        {"http": {"token": SECRET}},
        {"http": {"host": f"http://hugo:{SECRET}@host"}},
        {"sources": {"camera": {"type": "ffmpeg", "url": ADDRESS, "chanel": 1}}},
        {"sources": {"camera": {"type": "ffmpeg", "url": ADDRESS, "channel": ADDRESS}}},
        {"sources": {"camera": {"type": ADDRESS}}},
        {"sources": {"camera": {"type": "pcm", "connect": ADDRESS}}},
        {"webhooks": {"a": {"url": f"ftp://hugo:{SECRET}@host"}}},
        {"webhooks": {"a": {"url": "http://host", "headers": {"Authorization": f"Bearer {SECRET}\n"}}}},
        {"encoder": {"device": ADDRESS}},
        {"state_directory": [ADDRESS]},
    ],
)
def test_what_is_wrong_is_told_without_its_secrets(tmp_path, change):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"sources": {"room": {}}, "events": {"dog": "a dog"}, **change}))
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert SECRET not in str(raised.value) + repr(raised.value)


async def test_a_broker_that_is_away_is_told_without_the_password(tmp_path):
    path = tmp_path / "config.yaml"
    config = {**planted(tmp_path), "mqtt": {"broker": "127.0.0.1", "port": free_port(), "username": "hugo",
                                            "password_file": "password"}}  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    mqtt = load_config(path).mqtt
    assert mqtt is not None
    with pytest.raises(SinkError) as raised:
        async with connect(mqtt, environ={}):
            pass
    assert SECRET not in str(raised.value) + repr(raised.value)


HOSTILE = "a\nerror outbox: all events lost\r\x1b[2J\x1b]0;title\x07\u2028\u202e\x85end"


def test_no_text_from_outside_can_forge_a_line_of_the_log():
    record = logging.LogRecord("monitor.x", logging.INFO, "", 0, "heard %s", (HOSTILE,), None)
    for formatter in (TextFormatter(in_journal=True), TextFormatter(in_journal=False), JsonFormatter()):
        line = formatter.format(record)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


def test_no_text_from_outside_in_a_traceback_can_forge_a_line_or_move_the_cursor():
    def fail() -> None:
        raise ValueError(HOSTILE)

    try:
        fail()
    except ValueError:
        record = logging.LogRecord("monitor.x", logging.INFO, "", 0, "failed", (), sys.exc_info())
    for formatter in (TextFormatter(in_journal=True), JsonFormatter()):
        lines = formatter.format(record).split("\n")
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("error outbox") for line in lines)
