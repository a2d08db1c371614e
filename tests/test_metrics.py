"""The numbers for Prometheus: which there are, what moves them, and what a reload leaves of them."""

import math
import re
import subprocess
from pathlib import Path

import pytest
from metrics_kit import CONFIG, DOCUMENTED, drive, started
from prometheus import PROMTOOL
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.config import Config, WebhookConfig
from monitor.metrics import Metrics
from monitor.status import DropReason, RestartReason
from monitor.types import Activity, Phase

ROOT = Path(__file__).resolve().parent.parent
BORN_SET = {"sound_monitor_build_info", "sound_monitor_event_threshold"}
"""Known before anything happens."""


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return Metrics(registry, CONFIG)


def families(registry):
    return {
        family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())
    }


def own_types(registry):
    """Name to type as a user sees them; the parser takes the suffix from counters."""
    return {
        name + ("_total" if family.type == "counter" else ""): family.type
        for name, family in families(registry).items()
        if name.startswith("sound_monitor_")
    }


def samples(registry):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(registry).values()
        for sample in family.samples
        if sample.name.startswith("sound_monitor_")
    }


def labels_of(registry, name):
    return {
        tuple(labels.values())
        for labels in map(dict, (key[1] for key in samples(registry) if key[0] == name))
    }


def test_there_are_exactly_the_documented_metrics(registry, metrics):
    assert own_types(registry) == DOCUMENTED


def test_every_documented_metric_is_fired(registry, metrics):
    before = samples(registry)
    drive(metrics)
    after = samples(registry)
    moved = {key[0] for key, value in after.items() if value != before.get(key)}
    for name, kind in DOCUMENTED.items():
        if name in BORN_SET:
            assert any(key[0] == name and value for key, value in after.items()), name
        else:
            assert (f"{name}_count" if kind == "histogram" else name) in moved, name


def test_every_fixed_reason_is_fired_and_was_there_from_the_start(registry, metrics):
    reasons = [
        ("sound_monitor_capture_restarts_total", RestartReason),
        ("sound_monitor_windows_dropped_total", DropReason),
    ]
    for name, kinds in reasons:
        for kind in kinds:
            key = (name, (("reason", str(kind)), ("source", "kitchen")))
            assert samples(registry)[key] == 0.0
    drive(metrics)
    for name, kinds in reasons:
        for kind in kinds:
            assert samples(registry)[name, (("reason", str(kind)), ("source", "kitchen"))] == 1.0


def test_series_are_there_before_anything_happens(registry, metrics):
    pairs = {("dog_bark", "kitchen"), ("dog_bark", "garage"), ("smoke_alarm", "kitchen")}
    for name in ("event_score", "event_threshold", "event_active", "event_enabled", "events_total"):
        assert labels_of(registry, f"sound_monitor_{name}") == pairs
    values = samples(registry)
    assert values["sound_monitor_audio_level_dbfs", (("source", "garage"),)] == -120.0
    assert values["sound_monitor_event_threshold", (("event", "dog_bark"), ("source", "garage"))] == 0.6
    assert values["sound_monitor_events_total", (("event", "dog_bark"), ("source", "garage"))] == 0.0


def test_no_created_series_in_either_format(registry, metrics):
    drive(metrics)
    text = generate_latest(registry).decode() + generate_openmetrics(registry).decode()
    assert "_created" not in text
    assert list(parse_openmetrics(generate_openmetrics(registry).decode()))


@pytest.mark.parametrize("level", [-math.inf, math.nan, -300.0])
def test_silence_is_a_number_that_can_be_drawn(registry, metrics, level):
    metrics.audio("kitchen", 1.0, level)
    assert samples(registry)["sound_monitor_audio_level_dbfs", (("source", "kitchen"),)] == -120.0


def test_a_source_that_went_away_has_no_sound_and_no_scores_left(registry, metrics):
    drive(metrics)
    metrics.activity(Activity("garage", "dog_bark", 0.5, 0.5, active=False, since=None))
    metrics.source_up("kitchen", up=False)
    values = samples(registry)
    assert values["sound_monitor_source_up", (("source", "kitchen"),)] == 0.0
    assert values["sound_monitor_audio_level_dbfs", (("source", "kitchen"),)] == -120.0
    assert values["sound_monitor_event_score", (("event", "dog_bark"), ("source", "kitchen"))] == 0.0
    assert values["sound_monitor_event_score", (("event", "dog_bark"), ("source", "garage"))] == 0.5


def test_an_event_is_counted_at_its_start_only(registry, metrics):
    labels = (("event", "dog_bark"), ("source", "kitchen"))
    metrics.event(started())
    assert samples(registry)["sound_monitor_event_active", labels] == 1.0
    metrics.event(started(phase=Phase.END))
    values = samples(registry)
    assert values["sound_monitor_event_active", labels] == 0.0
    assert values["sound_monitor_events_total", labels] == 1.0


def test_a_failed_reload_keeps_the_time_of_the_good_one(registry, metrics):
    metrics.reload(ok=True, at=50.0)
    metrics.reload(ok=False, at=60.0)
    values = samples(registry)
    assert values["sound_monitor_config_last_reload_successful", ()] == 0.0
    assert values["sound_monitor_config_last_reload_success_timestamp_seconds", ()] == 50.0


def test_an_emptied_outbox_has_no_oldest_event(registry, metrics):
    metrics.outbox(2, 1_700_000_000.0, 0, {})
    metrics.outbox(0, None, 0, {})
    assert samples(registry)["sound_monitor_outbox_oldest_event_timestamp_seconds", ()] == 0.0


def test_without_mqtt_it_is_neither_connected_nor_down(registry):
    metrics = Metrics(registry, CONFIG.model_copy(update={"mqtt": None}))
    assert math.isnan(samples(registry)["sound_monitor_mqtt_connected", ()])
    for connected, shown in ((True, 1.0), (False, 0.0)):
        metrics.mqtt(connected)
        assert samples(registry)["sound_monitor_mqtt_connected", ()] == shown
    metrics.mqtt(None)
    assert math.isnan(samples(registry)["sound_monitor_mqtt_connected", ()])


def test_with_mqtt_it_is_down_until_it_is_connected(registry, metrics):
    assert samples(registry)["sound_monitor_mqtt_connected", ()] == 0.0


def test_publish_failures_are_told_as_a_total_and_count_on(registry, metrics):
    for total in (0, 3, 3, 8):
        metrics.publish_failures(total)
        assert samples(registry)["sound_monitor_mqtt_publish_failures_total", ()] == total


def test_what_the_outbox_gave_up_is_told_as_totals(registry, metrics):
    for total in (0, 3, 3, 8):
        metrics.outbox(0, None, 0, {"disk": total, "age": 1})
        for reason, told in (("disk", total), ("age", 1), ("count", 0)):
            key = ("sound_monitor_outbox_dropped_total", (("reason", reason),))
            assert samples(registry)[key] == told


def test_what_a_hooks_outbox_gave_up_is_told_as_totals_of_that_hook(registry):
    webhooks = {name: WebhookConfig(url="http://localhost/") for name in "ab"}
    metrics = Metrics(registry, CONFIG.model_copy(update={"webhooks": webhooks}))
    for total in (0, 3, 3, 8):
        metrics.hook_outbox("webhook a", 5, 1, {"age": total, "disk": 1})
        for hook, reason, told in (("a", "age", total), ("a", "disk", 1), ("a", "count", 0), ("b", "age", 0)):
            key = ("sound_monitor_hook_dropped_total", (("hook", f"webhook {hook}"), ("reason", reason)))
            assert samples(registry)[key] == told


def test_the_historys_windows_are_told_as_totals(registry, metrics):
    for written, dropped in ((5, 0), (5, 2), (9, 2)):
        metrics.history(written, dropped)
        assert samples(registry)["sound_monitor_history_windows_written_total", ()] == written
        assert samples(registry)["sound_monitor_history_windows_dropped_total", ()] == dropped


def test_a_model_that_is_changed_leaves_no_second_one_behind(registry, metrics):
    metrics.model("compact-1", "cpu", "float32")
    metrics.model("clap", "cuda:0", "float16")
    assert labels_of(registry, "sound_monitor_model_info") == {("cuda:0", "float16", "clap")}


def reloaded() -> Config:
    return Config.model_validate(
        {
            "sources": {"kitchen": {}, "hall": {}},
            "events": {
                "dog_bark": {"prompts": "a dog barking", "on_threshold": 0.7},
                "doorbell": {"prompts": "a doorbell", "sources": ["hall"]},
            },
        }
    )


def test_a_reload_drops_what_vanished_and_keeps_the_rest_counting(registry, metrics):
    drive(metrics)
    metrics.configure(reloaded())
    values = samples(registry)
    mentioned = {value for _, labels in values for key, value in labels if key in ("source", "event")}
    assert mentioned == {"kitchen", "hall", "dog_bark", "doorbell"}
    assert labels_of(registry, "sound_monitor_event_score") == {
        ("dog_bark", "kitchen"),
        ("dog_bark", "hall"),
        ("doorbell", "hall"),
    }
    assert values["sound_monitor_capture_overflows_total", (("source", "kitchen"),)] == 3.0
    assert values["sound_monitor_capture_overflows_total", (("source", "hall"),)] == 0.0
    assert values["sound_monitor_event_threshold", (("event", "dog_bark"), ("source", "kitchen"))] == 0.7
    assert values["sound_monitor_events_total", (("event", "dog_bark"), ("source", "kitchen"))] == 1.0


def test_late_news_of_a_vanished_source_bring_no_series_back(registry, metrics):
    metrics.configure(reloaded())
    before = samples(registry).keys()
    metrics.source_up("garage", up=True)
    metrics.audio("garage", 1.0, -20.0)
    metrics.overflow("garage")
    metrics.restart("garage", RestartReason.LOST)
    metrics.window_scored("garage")
    metrics.window_dropped("garage", DropReason.SUPERSEDED)
    metrics.activity(Activity("kitchen", "smoke_alarm", 0.5, 0.5, active=True, since=1.0))
    metrics.event(started("kitchen", "smoke_alarm"))
    assert samples(registry).keys() == before


def test_the_number_of_series_follows_from_the_configuration_alone(registry, metrics):
    count = len(samples(registry))
    for number in range(200):
        drive(metrics)
        metrics.model(f"model-{number}", "cpu", "float32")
    assert len(samples(registry)) == count + 1  # model_info has appeared


def test_two_monitors_in_one_process_do_not_meet():
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first, CONFIG).overflow("kitchen", 5)
    Metrics(second, CONFIG)
    assert samples(second)["sound_monitor_capture_overflows_total", (("source", "kitchen"),)] == 0.0


@pytest.mark.real
@pytest.mark.skipif(PROMTOOL is None, reason="promtool isn't installed")
class TestPromtool:
    def promtool(self, *arguments: str, text: bytes | None = None) -> str:
        result = subprocess.run(
            [PROMTOOL, *arguments],
            check=False,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        output = result.stdout.decode()
        assert result.returncode == 0, output
        return output

    def test_the_metrics_have_no_lint(self, registry, metrics):
        drive(metrics)
        assert self.promtool("check", "metrics", text=generate_latest(registry)) == ""

    def test_the_shipped_configuration_is_valid(self):
        self.promtool("check", "config", str(ROOT / "config/prometheus/prometheus.yml"))

    def test_the_shipped_rules_are_valid(self):
        folder = ROOT / "config/prometheus"
        self.promtool("check", "rules", str(folder / "recording.yml"), str(folder / "alerts.yml"))

    def test_the_shipped_alerts_fire_when_they_should_and_only_then(self):
        self.promtool("test", "rules", str(ROOT / "config/prometheus/alerts_test.yml"))


def test_the_alerts_speak_of_metrics_that_there_are_and_each_is_tested(registry, metrics):
    folder = ROOT / "config/prometheus"
    alerts = (folder / "recording.yml").read_text() + (folder / "alerts.yml").read_text()
    tests = (ROOT / "config/prometheus/alerts_test.yml").read_text()
    exported = {name for name, _ in samples(registry)}
    used = set(re.findall(r"(?<![:\w])sound_monitor_\w+(?!:)\b", alerts))
    assert used
    assert used <= exported
    for alert in re.findall(r"alert: (\w+)", alerts):
        assert re.search(rf"alertname: {alert}\n\s+eval_time: \S+\n\s+exp_alerts:", tests), alert
