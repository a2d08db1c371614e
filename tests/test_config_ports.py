"""Two parts that would listen at one port are told before either does."""

from __future__ import annotations

import json

import pytest

from monitor.config_file import load_config
from monitor.errors import ConfigError

# Where sources listen, what else the file says, and the finding.
CLASHES = [
    ({"c": 4010, "d": 4010}, "", "sources.d.listen: 4010 is taken by sources.c.listen"),
    ({"c": 40, "d": "localhost:40"}, "", "sources.d.listen: 'localhost:40' is taken by sources.c.listen"),
    ({"c": 4010, "d": "0.0.0.0:4010"}, "", "sources.d.listen: '0.0.0.0:4010' is taken by sources.c.listen"),
    ({"c": "[::]:40", "d": "[::1]:40"}, "", "sources.d.listen: '[::1]:40' is taken by sources.c.listen"),
    ({"c": "shed:40", "d": "shed:40"}, "", "sources.d.listen: 'shed:40' is taken by sources.c.listen"),
    ({"a": 9464}, "", "sources.a.listen: 9464 is taken by http.port"),
    ({"b": 1883}, "", "sources.b.listen: 1883 is taken by mqtt.port"),
    ({}, "http: {port: 1883}", "http.port: 1883 is taken by mqtt.port"),
    ({}, "http: {port: 1883, host: 0.0.0.0}", "http.port: 1883 is taken by mqtt.port"),
    ({}, "mqtt: {port: 9464}", "mqtt.port: 9464 is taken by http.port"),
    ({}, "http: {port: 80}\nmqtt: {port: 80}", "http.port: 80 is taken by mqtt.port"),
]  # fmt: skip
APART = [
    ({"c": 4010, "d": 4011}, ""),
    ({"c": 4010, "d": "192.168.0.5:4010"}, ""),
    ({"c": "0.0.0.0:4010", "d": "[::]:4010"}, ""),
    ({"a": 9464}, "http: {enabled: false}"),
    ({"a": 9464}, "http: {host: 192.168.0.5}"),
    ({}, "http: {port: 0}\nmqtt: {port: 9464}"),
    ({"b": 1883}, "mqtt: null"),
    ({"b": 1883}, "mqtt: {broker: lan}"),
    ({"b": 1883}, "mqtt: {port: 1884}"),
    ({}, "http: {port: 1883}\nmqtt: {broker: lan}"),
]


def load(tmp_path, listens, rest):
    sources = "".join(f", {name}: {{type: pcm, listen: {json.dumps(at)}}}" for name, at in listens.items())
    file = tmp_path / "home.yaml"
    file.write_text(f"{rest}\nsources: {{room: {{}}{sources}}}\nevents: {{dog: a dog barking}}\n")
    return load_config(file, {})


@pytest.mark.parametrize(("listens", "rest", "says"), CLASHES)
def test_a_port_that_two_would_listen_at_is_refused_with_both_fields(tmp_path, listens, rest, says):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, listens, rest)
    assert str(caught.value).split(":", 2)[2].strip() == f"{says}; name another port"
    assert f"home.yaml:{2 if listens else 1}: " in str(caught.value)


@pytest.mark.parametrize(("listens", "rest"), APART)
def test_one_port_of_two_addresses_or_of_one_that_is_off_is_no_clash(tmp_path, listens, rest):
    load(tmp_path, listens, rest)
