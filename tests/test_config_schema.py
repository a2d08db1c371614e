"""The schema for editors, and the examples: current, complete, and taken by loader and schema alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from monitor.check import report
from monitor.config import Config, EventConfig, MqttConfig, Section
from monitor.config_file import load_config
from monitor.errors import ConfigError
from monitor.reference import reference
from monitor.schema import json_schema

FOLDER = Path(__file__).resolve().parent.parent / "config"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_in_the_repository_is_current():
    printed = subprocess.run(
        [sys.executable, "-m", "monitor.schema"],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (FOLDER / "schema.json").read_text() == printed, (
        "run: python -m monitor.schema > config/schema.json"
    )


def test_there_are_examples():
    names = {path.stem for path in EXAMPLES}
    assert names >= {"demo", "home", "factory", "safety", "every-key"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_the_schema_and_is_valid(path, validator):
    text = path.read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    validator.validate(yaml.safe_load(text))
    assert isinstance(load_config(path, {}), Config)


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem != "every-key"], ids=lambda path: path.stem)
def test_an_example_holds_no_slip(path):
    embedded = "mqtt.broker: embedded is reached from this machine only"
    warned = [line for line in report(load_config(path, {}), path)[1] if not line.startswith(embedded)]
    assert warned == []


def kinds_of(section):
    """Return every kind of section that can be written, which those that only share keys can't."""
    kinds = section.__subclasses__()
    return [each for kind in kinds for each in kinds_of(kind)] if kinds else [section]


def test_every_key_is_in_the_example_of_that_name():
    given: dict[type[BaseModel], set[str]] = {}

    def collect(value):
        if isinstance(value, BaseModel):
            given.setdefault(type(value), set()).update(value.model_fields_set)
            for field in type(value).model_fields:
                collect(getattr(value, field))
        elif isinstance(value, dict | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner)

    config = load_config(FOLDER / "every-key.yaml", {"MQTT_PASSWORD": "x"})
    collect(config)
    assert config.mqtt is not None
    assert set(given) == set(kinds_of(Section))
    missing = {model.__name__: set(model.model_fields) - given[model] for model in given}
    assert {name: keys for name, keys in missing.items() if keys} == {}


BASE = {"sources": {"room": {}}, "events": {"dog": "a dog"}}
GOOD = [
    {"events": {"dog": "a dog"}},
    {"events": {"dog": ["a dog", "a hound"]}},
    {"events": {"dog": {"prompts": "a dog", "sources": "room"}}},
    {"events": {"dog": {"prompts": ["a dog"], "negatives": "a cat", "sources": ["room"]}}},
    {"events": {"dog": {"prompts": "a dog", "smoothing": {"seconds": 1}}}},
    {"events": {"dog": {"examples": "dog.wav"}}},
    {"events": {"bang": {"level": {"above_dbfs": -30}}}},
    {"events": {"bang": {"level": {"above_dbfs": -30, "below_dbfs": -40, "for_seconds": 1}}}},
    {"events": {"dog": {"prompts": "a dog", "schedule": {"days": "mon", "from": "22:00", "to": "07:00"}}}},
    {"events": {"dog": {"prompts": "a dog", "schedule": [{"days": ["mon", "tue"]}, {"to": "24:00"}]}}},
    {"events": {"dog": {"examples": ["dog.wav"], "prompts": "a dog"}}},
    {"smoothing": {"method": "none"}},
    {"mqtt": None},
    {"mqtt": {"broker": "lan", "version": 5, "tls": {}}},
    {"log": {"level": "warning"}},
    {"background": "rain"},
    {"sources": {"cam": {"type": "ffmpeg", "url": "rtsp://cam/1", "options": {"probesize": 32}}}},
    {"sources": {"esp": {"type": "pcm", "listen": 4010}}},
    {"sources": {"esp": {"type": "pcm", "listen": "4010"}}},
    {"sources": {"esp": {"type": "pcm", "listen": "[::]:4010", "channels": 2, "channel": 2}}},
    {"sources": {"esp": {"type": "pcm", "path": "-"}}},
    {"sources": {"mic": {"gain_db": -6, "high_pass_hz": 80}}},
]
BAD = [
    {"evnts": {}},
    {"sources": {}},
    {"sources": {"Room": {}}},
    {"sources": {"room": {"type": "file"}}},
    {"sources": {"cam": {"type": "ffmpeg"}}},
    {"sources": {"cam": {"type": "ffmpeg", "url": "rtsp://cam/1", "options": {"filter_complex": "x"}}}},
    {"sources": {"cam": {"type": "ffmpeg", "url": "rtsp://cam/1", "options": {"probesize": True}}}},
    {"sources": {"mic": {"gain_db": 100}}},
    {"sources": {"esp": {"type": "pcm", "listen": 0}}},
    {"sources": {"esp": {"type": "pcm", "connect": "shed"}}},
    {"sources": {"esp": {"type": "pcm", "path": "a.raw"}}},
    {"events": {"Dog Bark": "a dog"}},
    {"events": {"dog": []}},
    {"events": {"dog": ""}},
    {"events": {"dog": {"negatives": "a cat"}}},
    {"events": {"bang": {"level": {}}}},
    {"events": {"bang": {"level": {"above_dbfs": 10}}}},
    {"events": {"dog": {"prompts": "a dog", "schedule": []}}},
    {"events": {"dog": {"prompts": "a dog", "schedule": {"days": "monday"}}}},
    {"events": {"dog": {"prompts": "a dog", "schedule": {"from": "7:00"}}}},
    {"events": {"dog": {"prompts": "a dog", "on_threshold": 1.4}}},
    {"events": {"dog": {"prompts": "a dog", "on_treshold": 0.4}}},
    {"events": {"dog": {"prompts": "a dog", "sources": []}}},
    {"events": {"dog": {"prompts": "a dog", "examples": []}}},
    {"background": []},
    {"http": {"port": "9464"}},
    {"http": {"enabled": "true"}},
    {"encoder": {"device": "gpu"}},
    {"mqtt": {"prefix": "a/#"}},
    {"mqtt": {"broker": "mqtt://lan"}},
    {"mqtt": {"version": 4}},
]


def loads(tree, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(tree))
    load_config(file, {})


@pytest.mark.parametrize("change", GOOD, ids=json.dumps)
def test_the_schema_and_the_loader_take_the_same(change, validator, tmp_path):
    validator.validate(BASE | change)
    loads(BASE | change, tmp_path)


@pytest.mark.parametrize("change", BAD, ids=json.dumps)
def test_the_schema_and_the_loader_refuse_the_same(change, validator, tmp_path):
    assert not validator.is_valid(BASE | change)
    with pytest.raises(ConfigError, match=r"x\.yaml:1: "):
        loads(BASE | change, tmp_path)


def test_the_schema_takes_a_variable_where_a_number_is_wanted(validator):
    validator.validate(BASE | {"http": {"port": "${PORT:-9464}", "enabled": "${PAGE}"}})


def test_the_reference_is_that_of_the_schema_and_names_every_key():
    text = reference()
    assert (FOLDER / "REFERENCE.md").read_text() == text, "run make schema"
    keys = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert set(Config.model_fields) | set(EventConfig.model_fields) | set(MqttConfig.model_fields) <= keys
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
