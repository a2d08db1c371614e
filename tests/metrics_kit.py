"""What the tests of the metrics share: a configuration, every metric there is, and a drive through all."""

from monitor.config import Config
from monitor.metrics import Metrics
from monitor.status import ClipOutcome, DropReason, HookOutcome, RestartReason
from monitor.types import Activity, Event, Phase, Reason

CONFIG = Config.model_validate(
    {
        "sources": {"kitchen": {}, "garage": {}},
        "events": {
            "dog_bark": {"prompts": "a dog barking", "on_threshold": 0.6},
            "smoke_alarm": {"prompts": "a smoke alarm", "sources": ["kitchen"]},
        },
        "webhooks": {"pager": {"url": "http://localhost/"}},
    }
)
DOCUMENTED = {
    "sound_monitor_build_info": "gauge",
    "sound_monitor_model_info": "gauge",
    "sound_monitor_source_up": "gauge",
    "sound_monitor_source_last_audio_timestamp_seconds": "gauge",
    "sound_monitor_audio_level_dbfs": "gauge",
    "sound_monitor_capture_overflows_total": "counter",
    "sound_monitor_clipped_samples_total": "counter",
    "sound_monitor_capture_restarts_total": "counter",
    "sound_monitor_windows_scored_total": "counter",
    "sound_monitor_windows_reused_total": "counter",
    "sound_monitor_clips_total": "counter",
    "sound_monitor_hooks_total": "counter",
    "sound_monitor_hook_events": "gauge",
    "sound_monitor_hook_unsaved_events": "gauge",
    "sound_monitor_hook_dropped_total": "counter",
    "sound_monitor_clips_bytes": "gauge",
    "sound_monitor_windows_dropped_total": "counter",
    "sound_monitor_inference_duration_seconds": "histogram",
    "sound_monitor_batch_size": "histogram",
    "sound_monitor_detection_latency_seconds": "histogram",
    "sound_monitor_event_score": "gauge",
    "sound_monitor_event_threshold": "gauge",
    "sound_monitor_event_active": "gauge",
    "sound_monitor_event_enabled": "gauge",
    "sound_monitor_events_total": "counter",
    "sound_monitor_mqtt_connected": "gauge",
    "sound_monitor_mqtt_publish_failures_total": "counter",
    "sound_monitor_outbox_events": "gauge",
    "sound_monitor_outbox_oldest_event_timestamp_seconds": "gauge",
    "sound_monitor_outbox_unsaved_events": "gauge",
    "sound_monitor_outbox_dropped_total": "counter",
    "sound_monitor_model_rebuilds_total": "counter",
    "sound_monitor_history_windows_written_total": "counter",
    "sound_monitor_history_windows_dropped_total": "counter",
    "sound_monitor_config_last_reload_successful": "gauge",
    "sound_monitor_config_last_reload_success_timestamp_seconds": "gauge",
}
"""Every metric that users may build on, with its type."""


def started(source="kitchen", name="dog_bark", phase=Phase.START) -> Event:
    return Event("1", source, name, phase, 100.0, None, 0.9, 0.6, Reason.THRESHOLD)


def drive(metrics: Metrics) -> None:
    """Everything that can be reported, once at least, with values that no metric is born with."""
    metrics.model("compact-1", "cpu", "float32")
    metrics.source_up("kitchen", up=True)
    metrics.audio("kitchen", 1_700_000_000.25, -31.5)
    metrics.overflow("kitchen", 3)
    metrics.clipped("kitchen", 2)
    for reason in RestartReason:
        metrics.restart("kitchen", reason)
    metrics.window_scored("kitchen")
    metrics.window_reused("kitchen")
    for reason in DropReason:
        metrics.window_dropped("kitchen", reason)
    metrics.batch(3, 0.02)
    metrics.latency(0.3)
    metrics.activity(Activity("kitchen", "dog_bark", 0.9, 0.75, active=True, since=100.0))
    metrics.event(started())
    metrics.enabled("kitchen", "dog_bark", on=False)
    for outcome in ClipOutcome:
        metrics.clip("kitchen", outcome)
    metrics.clip_bytes(70_000)
    for outcome in HookOutcome:
        metrics.hook("webhook pager", outcome)
    metrics.hook_outbox("webhook pager", 2, 1, {"age": 1, "count": 2, "disk": 3, "unreadable": 4})
    metrics.mqtt(connected=True)
    metrics.publish_failures(4)
    metrics.outbox(2, 1_700_000_000.0, 1, {"age": 1, "count": 2, "disk": 3, "unreadable": 4})
    metrics.rebuilds(1)
    metrics.history(written=40, dropped=2)
    metrics.reload(ok=True, at=1_700_000_001.0)
