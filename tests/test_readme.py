"""What the README says can be typed, can be typed."""

import asyncio
import json
import os
import re
import signal
import socket
import sys

import aiohttp
import pytest
import yaml
from conftest import ROOT
from daemon import subscriber

from monitor.cli import _parser
from monitor.config import Config, MqttConfig
from monitor.config_file import load_config
from monitor.daemon import _NEEDS_RESTART
from monitor.sinks.discovery import discovery
from monitor.sinks.messages import Topics

README = (ROOT / "README.md").read_text()


def blocks(language):
    return [
        re.sub(r"^ {3}", "", body, flags=re.MULTILINE) if body.startswith("   ") else body
        for body in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    ]


def test_every_file_that_is_linked_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_anchor_that_is_linked_is_a_heading():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_every_command_of_the_table_exists_and_none_is_missing():
    (commands,) = (
        set(action.choices) for action in _parser()._actions if hasattr(action, "choices") and action.choices
    )
    listed = set(re.findall(r"^\| `sound-monitor (\w+)", README, re.MULTILINE))
    assert listed == commands


def test_what_waits_for_a_restart_is_named():
    (named,) = re.findall(r"Changes to ([^.]+)\swait\sfor\sa\srestart", README)
    assert set(re.findall(r"`(\w+)`", named)) == set(_NEEDS_RESTART)


def test_the_configurations_shown_are_valid(tmp_path):
    (tmp_path / "mqtt-password").write_text("secret\n")
    events = {"kettle": "a kettle whistling", "smoke_alarm": "a smoke alarm beeping"}
    whole = {"sources": {"kitchen": {"type": "microphone"}}, "events": events}
    shown = [yaml.safe_load(block) for block in blocks("yaml")]
    assert len(shown) >= 2
    for index, block in enumerate(shown):
        path = tmp_path / f"shown_{index}.yaml"
        path.write_text(yaml.safe_dump(whole | block))
        load_config(path, {"CAMERA_PASSWORD": "secret"})


def kitchen():
    whole = {"sources": {"kitchen": {"type": "microphone"}}, "events": {"kettle": "a kettle whistling"}}
    return Config.model_validate(whole)


def test_the_entities_shown_are_those_that_home_assistant_is_told_about():
    told = discovery(kitchen(), MqttConfig()).values()
    ids = {json.loads(payload)["default_entity_id"] for payload in told}
    assert set(re.findall(r"`(\w+\.kitchen_sound_monitor_\w+)`", README)) == ids


def test_the_topics_of_the_table_are_those_that_are_published():
    listed = set(re.findall(r"`(sound-monitor/[^`]+)`", README))
    topics = Topics("sound-monitor")
    published = {topics.status, topics.event("<source>"), topics.level("<source>")}
    published |= {topics.score("<source>", "<event>")}
    for event in (None, "<event>"):
        published |= {topics.command("<source>", event), *topics.retained([("<source>", event)])}
    assert listed == published


def free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.real
@pytest.mark.timeout(300)
async def test_make_run_hears_the_demo_scene_and_answers_as_the_readme_says(tmp_path):
    if not (ROOT / ".stamps" / "run").exists():
        pytest.skip("set up without make: no .stamps/run")
    if not (free(9464) and free(1883)):
        pytest.skip("port 9464 or 1883 is taken on this machine")
    process = await asyncio.create_subprocess_exec(
        *("make", "run"),
        cwd=ROOT,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        lines = []

        async def until(pattern, seconds):
            async with asyncio.timeout(seconds):
                async for line in process.stdout:
                    lines.append(line.decode().rstrip())
                    if re.search(pattern, lines[-1]):
                        return
            raise AssertionError("\n".join(lines))

        await until("listening: 1 source", 60)
        assert "no microphone is there: listening to a demo scene" in lines
        async with subscriber(1883) as received:
            await until("room: .* began", 120)
            await received.until(received.events)
        async with aiohttp.ClientSession() as session:
            async with session.get("http://127.0.0.1:9464/metrics") as response:
                assert "sound_monitor_event_score" in await response.text()
            async with session.get("http://127.0.0.1:9464/") as response:
                assert response.status == 200
        tail = await asyncio.create_subprocess_exec(
            *("timeout", "8", sys.executable, "-m", "monitor", "tail", "config/demo.yaml", "--json"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        shown = (await tail.communicate())[0].decode()
        messages = [json.loads(line) for line in shown.splitlines()]
        assert {"sound-monitor/status", "sound-monitor/room/status"} <= {each["topic"] for each in messages}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 20)
