"""`sound-monitor doctor` on real parts: every fault is named with its remedy, and nothing else is."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT
from mosquitto import Certificates, free_port, mosquitto
from mqtt_kit import Receiver, until
from prometheus_client import CollectorRegistry
from pulse import pulse_server
from scenes import HOUSE
from tones import write_scene

from monitor.cli import main
from monitor.config import Config, HttpConfig, MqttConfig
from monitor.doctor import examine
from monitor.doctor.finding import Verdict
from monitor.doctor.hearing import look_at_sound_cards
from monitor.doctor.machine import Clock, look_at_disk, look_at_model
from monitor.sinks.connection import Message, connect
from monitor.sources import helper
from monitor.web import serve

SECRET = "tr0ub4dor-and-three"


@pytest.fixture
def no_model(monkeypatch):
    """Leave the model out, for tests of other things."""
    monkeypatch.setattr("monitor.doctor.look_at_model", lambda config: iter(()))


async def findings(folder: Path, config: dict, environ=None) -> dict[str, tuple[str, str]]:
    """Examine a configuration; return verdict and text by what they are about, the last of each."""
    path = folder / "config.yaml"
    sound = write_scene(folder / "room.wav", (1000, 3), rate_hz=16_000)
    whole = {
        "sources": {"room": {"type": "file", "path": str(sound), "realtime": False}},
        "events": {"dog": "a dog barking"},
        "mqtt": None,
        "http": {"enabled": False},
        "state_directory": "state",
        **config,
    }
    path.write_text(yaml.safe_dump(whole))
    path.chmod(0o600)
    found = {}
    async for each in examine(path, environ={} if environ is None else environ):
        assert each.line.isprintable()
        assert SECRET not in each.line
        found[each.about] = (each.verdict.value, each.says)
    return found


async def test_a_wrong_configuration_is_all_there_is_to_say(tmp_path):
    found = await findings(tmp_path, {"events": {"dog": {"prompts": "a dog", "on_treshold": 1}}})
    assert list(found) == ["configuration"]
    assert found["configuration"][0] == "failed"
    assert "did you mean on_threshold?" in found["configuration"][1]


async def test_all_is_well(tmp_path):
    write_scene(tmp_path / "dog.wav", (500, 2.0))
    found = await findings(
        tmp_path, {"events": {"dog": {"prompts": "a dog barking", "examples": "dog.wav"}}, "history": {}}
    )
    clock = found.pop("clock")
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert "at -" in found["source room"][1]
    assert found["examples"][1] == "1 can be read"
    assert "keeps up with" in found["model compact"][1]
    assert "GB free" in found["state_directory"][1]
    assert "history.directory" in found
    assert clock[0] in {"ok", "warning"}
    assert not (tmp_path / "state").exists()  # nothing is changed


async def test_files_that_are_missing_damaged_or_silent(tmp_path, no_model):
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 16_000)
    (tmp_path / "torn.wav").write_bytes(b"RIFF no sound")
    found = await findings(
        tmp_path,
        {
            "sources": {
                "missing": {"type": "file", "path": "missing.wav"},
                "torn": {"type": "file", "path": "torn.wav"},
                "silent": {"type": "file", "path": "silent.wav"},
            },
            "events": {"dog": {"examples": ["silent.wav", "missing.wav"]}},
        },
    )
    assert found["source missing"] == (
        "failed",
        f"'{tmp_path / 'missing.wav'}' can't be read: No such file or directory; mend the path",
    )
    assert found["source torn"][0] == "failed"
    assert found["source silent"] == ("ok", "opens; it begins with silence")
    assert "holds silence only; record the sound again" in found["events.dog.examples[0]"][1]
    assert found["events.dog.examples[1]"][0] == "failed"


@pytest.mark.real
async def test_microphones_that_speak_are_silent_or_absent(tmp_path, monkeypatch, no_model):
    devices = {"lively": "room_mic", "muted": "hall_mic", "gone": "USB"}
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "noise.wav", 0.05 * rng.standard_normal(48_000 * 20), 48_000)
    with pulse_server(("room", "hall")) as pulse:
        for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_SERVER"):
            monkeypatch.setenv(name, pulse.environment[name])
        pulse.play(tmp_path / "noise.wav", "room")
        found = await findings(
            tmp_path,
            {"sources": {name: {"device": device} for name, device in devices.items()}},
        )
    assert found["source lively"][0] == "ok"
    assert "dBFS" in found["source lively"][1]
    assert found["source muted"][0] == "failed"
    assert "is it muted (alsamixer), the wrong input, or unplugged?" in found["source muted"][1]
    assert found["source gone"][0] == "failed"
    assert "sound-monitor devices" in found["source gone"][1]


@pytest.mark.real
async def test_channels_of_one_device_open_it_once(tmp_path, monkeypatch, no_model):
    opened = []

    def start(request):
        opened.append((request["device"], request["channels"]))
        return helper_start(request)

    helper_start = helper.start
    monkeypatch.setattr(helper, "start", start)
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "noise.wav", 0.05 * rng.standard_normal((48_000 * 20, 2)), 48_000)
    with pulse_server(channels=2) as pulse:
        for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_SERVER"):
            monkeypatch.setenv(name, pulse.environment[name])
        pulse.play(tmp_path / "noise.wav")
        channels = {f"channel_{number}": {"device": "room_mic", "channel": number} for number in (1, 2)}
        found = await findings(tmp_path, {"sources": channels})
    assert [found[f"source {name}"][0] for name in channels] == ["ok", "ok"]
    assert opened == [("room_mic", 2)]


@pytest.mark.parametrize(
    ("names", "mode", "verdict", "says"),
    [
        ((), 0o600, "warning", "no card has an input"),
        (("pcmC0D0p",), 0o600, "warning", "no card has an input"),
        (("pcmC0D0c", "pcmC0D0p"), 0o600, "ok", "1 inputs of ALSA"),
        (("pcmC0D0c",), 0o000, "failed", "group audio"),
    ],
)
def test_sound_cards_must_be_open_to_the_user(tmp_path, monkeypatch, names, mode, verdict, says):
    if mode == 0:  # root may read everything
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    for name in names:
        (tmp_path / name).touch(mode)
    config = Config.model_validate({"sources": {"room": {}}, "events": {"dog": "a dog"}})
    (found,) = look_at_sound_cards(config, tmp_path)
    assert found.verdict.value == verdict
    assert says in found.says


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.mark.real
async def test_the_broker_is_asked_as_the_monitor_would(tmp_path, certificates, no_model):
    (tmp_path / "right").write_text(SECRET)
    (tmp_path / "wrong").write_text("wrong" + SECRET)
    for name in ("right", "wrong"):
        (tmp_path / name).chmod(0o600)
    with mosquitto(tmp_path, users={"hugo": SECRET}, certificates=certificates) as broker:
        mqtt = {
            "broker": "localhost",
            "port": broker.port,
            "username": "hugo",
            "password_file": "right",
            "tls": {"ca_file": str(certificates.ca)},
        }
        found = await findings(tmp_path, {"mqtt": mqtt})
        about = f"MQTT broker localhost:{broker.port}"
        assert found[about][0] == "ok"
        assert found[about][1].startswith("accepts user 'hugo' over TLS after ")
        assert found["secrets"] == ("ok", "1 files, none open to every user")
        for change, says in (
            ({"password_file": "wrong"}, "refuses user 'hugo' or the password"),
            ({"password_file": "none"}, "make it a file that this user can read"),
            ({"broker": "127.0.0.1"}, "set mqtt.broker to a name in its certificate"),
            ({"tls": {"ca_file": str(certificates.other_ca)}}, "set mqtt.tls.ca_file"),
            ({"port": free_port()}, "nothing listens there"),
            ({"broker": "no-such-host.invalid"}, "the name can't be resolved"),
        ):
            found = await findings(tmp_path, {"mqtt": {**mqtt, **change}})
            assert found["broker"][0] == "failed"
            assert says in found["broker"][1]


@pytest.mark.real
async def test_a_monitor_that_runs_is_not_disturbed(tmp_path, no_model):
    with mosquitto(tmp_path) as broker:
        mqtt = {"broker": "127.0.0.1", "port": broker.port}
        async with Receiver(broker) as receiver, connect(MqttConfig(**mqtt), environ={}) as monitor:
            staying = asyncio.create_task(anext(monitor.messages()))
            found = await findings(tmp_path, {"mqtt": mqtt})
            assert found[f"MQTT broker 127.0.0.1:{broker.port}"][0] == "ok"
            await monitor.publish(Message("after", b"it"))
            await until(lambda: receiver.messages)
            assert [topic for topic, _, _ in receiver.messages] == ["after"]
            assert not staying.done()
            staying.cancel()


async def test_what_the_monitor_that_runs_hears_is_not_missed(tmp_path, no_model):
    # In that monitor, the kitchen delivers sound and the garage doesn't.
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "token").chmod(0o600)
    http = HttpConfig(port=0, token_file=tmp_path / "token")
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        kitchen, garage = ({"type": "pcm", "listen": f"127.0.0.{n}:{port}"} for n in (1, 2))
        async with serve(http, CollectorRegistry(), lambda: HOUSE, lambda: (True, "")) as site:
            found = await findings(
                tmp_path,
                {
                    "sources": {"kitchen": kitchen, "garage": garage},
                    "http": {"port": site.port, "token_file": "token"},
                },
            )
    assert found["source kitchen"] == ("ok", "is taken by the monitor that runs, which hears it")
    assert found["source garage"][0] == "failed"


async def test_ports_that_are_taken(tmp_path, no_model):
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        page = {"host": "127.0.0.2", "port": port}
        found = await findings(tmp_path, {"mqtt": {"port": port}, "http": page})
    assert found[f"MQTT broker 127.0.0.1:{port}"][0] == "warning"
    assert found[f"http port {port} on 127.0.0.2"][0] == "failed"
    assert "Address already in use" in found[f"http port {port} on 127.0.0.2"][1]
    config = HttpConfig(port=0)
    async with serve(config, CollectorRegistry(), lambda: HOUSE, lambda: (True, "")) as server:
        found = await findings(tmp_path, {"http": {"port": server.port}})
    assert found[f"http port {server.port} on 127.0.0.1"] == ("ok", "is in use by a monitor that runs")


async def test_secrets_that_others_can_read(tmp_path, no_model):
    token = tmp_path / "token"
    token.write_text(SECRET)
    token.chmod(0o644)
    config = {"http": {"port": free_port(), "token_file": "token"}}
    found = await findings(tmp_path, config)
    assert found["http"] == ("ok", "asks for its token")
    assert found["http.token_file"][0] == "warning"
    assert f"chmod 600 {token}" in found["http.token_file"][1]
    token.chmod(0o640)
    assert (await findings(tmp_path, config))["secrets"][0] == "ok"
    token.write_text("short")
    assert (await findings(tmp_path, config))["http"][0] == "failed"
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "http-token").write_text(SECRET)
    (tmp_path / "http-token").chmod(0o400)
    found = await findings(tmp_path, {"http": {"port": free_port()}}, given)
    assert (found["http"], found["secrets"][0]) == (("ok", "asks for its token"), "ok")


def config_at(folder: Path, **more) -> Config:
    given = {"sources": {"room": {"type": "demo"}}, "events": {"dog": "a dog"}, "state_directory": folder}
    return Config.model_validate({**given, **more})


def test_a_state_directory_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    (found,) = look_at_disk(config_at(Path("/proc/nowhere")), {})
    assert found.verdict is Verdict.FAILED
    assert "can't be written" in found.says
    (found,) = look_at_disk(config_at(tmp_path / "deep" / "er"), {})
    assert found.verdict is Verdict.OK
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(("free", "verdict"), [(5e7, "failed"), (5e8, "warning"), (5e9, "ok")])
def test_little_room_is_told(tmp_path, monkeypatch, free, verdict):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("monitor.doctor.machine.shutil.disk_usage", lambda path: usage)
    (found,) = look_at_disk(config_at(tmp_path), {})
    assert found.verdict.value == verdict


@pytest.mark.parametrize(("carried", "verdict"), [(0.9, "failed"), (1.1, "warning"), (9.0, "ok")])
def test_a_model_too_slow_for_its_sources_is_told(tmp_path, monkeypatch, carried, verdict):
    monkeypatch.setattr("monitor.doctor.machine.capacity", lambda config, repeats: carried)
    (found,) = look_at_model(config_at(tmp_path))
    assert found.verdict.value == verdict


def test_a_model_that_is_not_there_is_told(tmp_path):
    (found,) = look_at_model(config_at(tmp_path, encoder={"model": "./nowhere"}))
    assert found.verdict is Verdict.FAILED
    assert "there is no such folder" in found.says


def test_a_clock_that_jumps_or_is_far_off_is_told(monkeypatch):
    clock, now = Clock(), time.time()
    monkeypatch.setattr("monitor.doctor.machine.time.time", lambda: now + 3600.0)
    (found,) = clock.findings()
    assert found.says.startswith("jumped by +3600")
    monkeypatch.setattr("monitor.doctor.machine.time.time", lambda: 86_400.0)
    (found,) = clock.findings()
    assert found.verdict is Verdict.FAILED
    assert "1970-01-0" in found.says


def test_the_command_prints_json_and_tells_by_its_status(tmp_path, capsys):
    config = {
        "sources": {"tape": {"type": "file", "path": "none.wav"}},
        "events": {"dog": "a dog barking"},
        "mqtt": None,
        "http": {"enabled": False},
        "state_directory": "state",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))

    command = [sys.executable, "-m", "monitor", "doctor", str(tmp_path / "config.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {"about", "verdict", "says"} == set(found[0])
    assert [each["about"] for each in found if each["verdict"] == "failed"] == ["source tape"]
    write_scene(tmp_path / "none.wav", (500, 3.0))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(tmp_path / "config.yaml")])
    assert ended.value.code == 0
    assert "ok      source tape: delivers sound after" in capsys.readouterr().out
