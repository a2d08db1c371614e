"""The shipped dashboard and rules: every expression gives data from a Prometheus that scraped the daemon."""

import asyncio
import itertools
import json
import math
import re
from pathlib import Path

import pytest
import yaml
from daemon import daemon
from prometheus import PROMETHEUS, prometheus

ROOT = Path(__file__).parent.parent
DASHBOARD = json.loads((ROOT / "config/grafana/sound-monitor.json").read_text())
RULES = [ROOT / "config/prometheus" / name for name in ("recording.yml", "alerts.yml")]
# What Grafana puts in for its variables, here with a scrape a second.
VARIABLES = {
    "$instance": ".*",
    "$source": ".*",
    "$event": ".*",
    "$__rate_interval": "5s",
    "$__range": "1m",
}
FILTER = re.compile(r"\s(?:==|>|<)\s[\d.]+")
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


def dashboard_expressions():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = LABEL_VALUES.fullmatch(variable["query"]["query"]).groups()
            yield f"variable {variable['name']}", f"count by ({label}) ({metric})"


def rule_expressions():
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]


def plain(expression: str) -> str:
    """Put Grafana's variables in, and leave out comparisons: a condition that doesn't hold gives no data."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return FILTER.sub("", expression)


def has_numbers(series):
    return series and not any(math.isnan(each.value) for each in series)


@pytest.mark.real
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus isn't installed")
async def test_every_expression_of_dashboard_and_rules_gives_data_of_a_running_daemon(tmp_path):
    config = {
        "sources": {"room": {"type": "demo"}, "hall": {"type": "demo", "seed": 2}},
        "events": {"siren": "a siren wailing", "doorbell": "a doorbell ringing"},
        "webhooks": {"pager": {"url": "http://127.0.0.1:1/"}},
    }
    async with daemon(tmp_path, config) as running:
        await running.logged("listening:")
        host = (await running.url()).removeprefix("http://").rstrip("/")
        async with prometheus([host], rules=RULES) as prom:
            expressions = dict(itertools.chain(dashboard_expressions(), rule_expressions()))
            assert len(expressions) > 35
            for name, expression in expressions.items():
                try:
                    await prom.until(plain(expression), has_numbers, seconds=40.0)
                except AssertionError as error:
                    raise AssertionError(f"{name}: {error}") from None
            recorded = await prom.until("instance:sound_monitor_inference_busy:ratio_rate5m", has_numbers)
            assert 0 < recorded[0].value < 10
        assert await asyncio.wait_for(running.stop(), 20) == 0


def test_the_panels_neither_overlap_nor_share_an_id_and_each_says_what_it_shows():
    panels = DASHBOARD["panels"]
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"], panel["title"]


def test_every_query_goes_to_the_data_source_that_the_user_chose():
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"${datasource}", "sound-monitor"}


def test_provisioning_names_a_prometheus_and_a_folder():
    folder = ROOT / "config/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards/sound-monitor.yml").read_text())["providers"]
    assert provider["type"] == "file"
