"""The monitor's numbers for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from monitor import __version__
from monitor.config import Config
from monitor.status import SILENCE_DBFS, ClipOutcome, DropReason, HookOutcome, RestartReason, floor_dbfs
from monitor.types import Activity, Event, Phase

_INFERENCE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_GIVEN_UP = ("age", "count", "disk", "unreadable")
_LATENCY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All series of one registry; labels are the configuration's slugs and fixed reasons, nothing else.

    What is reported of a source or event that the configuration doesn't have (any more) is ignored: a
    batch may still be on its way when a reload takes its source out. Reported to from one thread; the
    registry may be rendered in another.
    """

    def __init__(self, registry: CollectorRegistry, config: Config) -> None:
        # They double the counters' series, and the library has no narrower switch.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sound_monitor_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sound_monitor_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float]) -> Histogram:
            return Histogram(f"sound_monitor_{name}", text, registry=registry, buckets=tuple(buckets))

        gauge("build_info", "Version of sound-monitor; always 1.", "version").labels(__version__).set(1)
        self._model = gauge("model_info", "Encoder in use; always 1.", "model", "device", "dtype")

        self._up = gauge("source_up", "1 while the source is open and delivers sound.", "source")
        self._last_audio = gauge(
            "source_last_audio_timestamp_seconds", "When the newest sound was recorded; 0 = never.", "source"
        )
        self._level = gauge(
            "audio_level_dbfs", "Level of the newest hop of sound; -120 is silence.", "source"
        )
        self._overflows = counter(
            "capture_overflows_total", "Times that the system lost samples of the source.", "source"
        )
        self._clipped = counter(
            "clipped_samples_total", "Samples of the source that came in at full scale.", "source"
        )
        self._restarts = counter(
            "capture_restarts_total", "Times that the source had to be opened again.", "source", "reason"
        )
        self._scored = counter("windows_scored_total", "Windows whose scores were decided on.", "source")
        self._reused = counter(
            "windows_reused_total", "Windows that the last embedding stood for: nothing had moved.", "source"
        )
        self._dropped = counter(
            "windows_dropped_total", "Windows that never got a score.", "source", "reason"
        )

        self._inference = histogram(
            "inference_duration_seconds", "Time the model took for one batch of windows.", _INFERENCE_BUCKETS
        )
        self._batch = histogram("batch_size", "Windows scored together in one batch.", _BATCH_BUCKETS)
        self._latency = histogram(
            "detection_latency_seconds",
            "From the recording of a window's last sample to the decision on its scores.",
            _LATENCY_BUCKETS,
        )

        self._score = gauge("event_score", "Smoothed score of the event, 0 to 1.", "source", "event")
        self._threshold = gauge(
            "event_threshold", "Score from which on the event begins, 0 to 1.", "source", "event"
        )
        self._active = gauge("event_active", "1 while the event lasts.", "source", "event")
        self._enabled = gauge(
            "event_enabled", "1 while the event is detected, 0 while it is switched off.", "source", "event"
        )
        self._events = counter("events_total", "Events that have begun.", "source", "event")

        self._clips = counter(
            "clips_total", "Recordings of events, by what became of them.", "source", "outcome"
        )
        self._clip_bytes = gauge("clips_bytes", "Size of all recordings of events on the disk.")

        self._hooks = counter(
            "hooks_total", "Attempts to tell webhooks and commands, by how they went.", "hook", "outcome"
        )
        self._hook_waiting = gauge("hook_events", "Events that wait for a webhook or command.", "hook")
        self._hook_unsaved = gauge("hook_unsaved_events", "Those of them that only memory holds.", "hook")
        self._hook_dropped = counter(
            "hook_dropped_total", "Events given up before the webhook or command had them.", "hook", "reason"
        )

        self._mqtt = gauge(
            "mqtt_connected", "1 while the MQTT broker has accepted the connection; NaN where MQTT is off."
        )
        self._publish_failures = counter("mqtt_publish_failures_total", "Messages the broker didn't take.")
        self._outbox = gauge("outbox_events", "Events that the broker hasn't acknowledged yet.")
        self._outbox_oldest = gauge(
            "outbox_oldest_event_timestamp_seconds", "When the oldest of those was decided; 0 = none."
        )

        self._outbox_unsaved = gauge(
            "outbox_unsaved_events", "Events that only memory holds, because the disk refuses them."
        )
        self._outbox_dropped = counter(
            "outbox_dropped_total", "Events that were given up before the broker had them.", "reason"
        )
        for given_up in _GIVEN_UP:
            self._outbox_dropped.labels(given_up)
        self._rebuilds = counter("model_rebuilds_total", "Times that the model failed and was loaded anew.")

        self._history_written = counter(
            "history_windows_written_total", "Windows put into the history; 0 where there is none."
        )
        self._history_dropped = counter(
            "history_windows_dropped_total", "Windows that the history lost: a slow, full or missing disk."
        )

        self._reload_ok = gauge(
            "config_last_reload_successful", "1 when the file read last is the one in force."
        )
        self._reloaded_at = gauge(
            "config_last_reload_success_timestamp_seconds", "When the configuration in force was read."
        )

        self._of_source = (
            self._up,
            self._last_audio,
            self._level,
            self._overflows,
            self._clipped,
            self._scored,
            self._reused,
        )
        self._of_event = (self._score, self._threshold, self._active, self._enabled, self._events)
        self._told: dict[Counter, int] = {}
        self._sources: frozenset[str] = frozenset()
        # Looked up once: a window tells the scores of all its events.
        self._pairs: dict[tuple[str, str], tuple[Gauge, Gauge]] = {}
        self._add_hooks(config)
        self.configure(config)
        self.mqtt(False if config.mqtt else None)

    def _add_hooks(self, config: Config) -> None:
        for hook in config.hook_labels:
            self._hook_waiting.labels(hook)
            self._hook_unsaved.labels(hook)
            for outcome in HookOutcome:
                self._hooks.labels(hook, outcome)
            for given_up in _GIVEN_UP:
                self._hook_dropped.labels(hook, given_up)

    def configure(self, config: Config) -> None:
        """Have exactly the series of this configuration: new ones from 0, the others going on."""
        sources = tuple(config.sources)
        pairs = tuple(
            (source, event) for source in sources for event in config.events if config.listens(source, event)
        )
        self._remove(self._sources.difference(sources), self._pairs.keys() - set(pairs))
        for source in sources:
            if source not in self._sources:
                self._add_source(source)
        for source, event in pairs:
            for metric in self._of_event:
                metric.labels(source, event)
            self._threshold.labels(source, event).set(config.events[event].on_threshold)
            if (source, event) not in self._pairs:
                self._enabled.labels(source, event).set(1)
        self._sources = frozenset(sources)
        self._pairs = {pair: (self._score.labels(*pair), self._active.labels(*pair)) for pair in pairs}

    def _remove(self, sources: frozenset[str], pairs: Iterable[tuple[str, str]]) -> None:
        for source in sources:
            for metric in self._of_source:
                metric.remove(source)
            for metric in (self._restarts, self._dropped, self._clips):
                metric.remove_by_labels({"source": source})
        for pair in pairs:
            for metric in self._of_event:
                metric.remove(*pair)

    def _add_source(self, source: str) -> None:
        for metric in self._of_source:
            metric.labels(source)
        self._level.labels(source).set(SILENCE_DBFS)
        for restart_reason in RestartReason:
            self._restarts.labels(source, restart_reason)
        for drop_reason in DropReason:
            self._dropped.labels(source, drop_reason)
        for outcome in ClipOutcome:
            self._clips.labels(source, outcome)

    def model(self, identity: str, device: str, dtype: str) -> None:
        """Tell which encoder is in use."""
        self._model.clear()
        self._model.labels(identity, device, dtype).set(1)

    def source_up(self, source: str, up: bool) -> None:
        """Tell whether a source delivers; one that doesn't has no sound and no scores."""
        if source not in self._sources:
            return
        self._up.labels(source).set(up)
        if not up:
            self._level.labels(source).set(SILENCE_DBFS)
            for pair in self._pairs:
                if pair[0] == source:
                    self._score.labels(*pair).set(0.0)

    def audio(self, source: str, recorded_at: float, level_dbfs: float) -> None:
        """Tell of new sound: Unix seconds of its end, and its level (minus infinity is fine)."""
        if source in self._sources:
            self._last_audio.labels(source).set(recorded_at)
            self._level.labels(source).set(floor_dbfs(level_dbfs))

    def overflow(self, source: str, count: int = 1) -> None:
        """Tell that the system lost samples."""
        if source in self._sources:
            self._overflows.labels(source).inc(count)

    def clipped(self, source: str, count: int) -> None:
        """Tell how many samples came in at full scale."""
        if source in self._sources:
            self._clipped.labels(source).inc(count)

    def restart(self, source: str, reason: RestartReason) -> None:
        """Tell that a source has to be opened again."""
        if source in self._sources:
            self._restarts.labels(source, reason).inc()

    def window_scored(self, source: str) -> None:
        """Tell that a window got its scores (of a window below the level gate: zeros)."""
        if source in self._sources:
            self._scored.labels(source).inc()

    def window_reused(self, source: str) -> None:
        """Tell that a window had the scores of the one before."""
        if source in self._sources:
            self._reused.labels(source).inc()

    def window_dropped(self, source: str, reason: DropReason) -> None:
        """Tell that a window will never be scored."""
        if source in self._sources:
            self._dropped.labels(source, reason).inc()

    def batch(self, size: int, seconds: float) -> None:
        """Tell of one run of the model."""
        self._batch.observe(size)
        self._inference.observe(seconds)

    def latency(self, seconds: float) -> None:
        """Tell how old a window's last sample was when its scores were decided on."""
        self._latency.observe(seconds)

    def activity(self, activity: Activity) -> None:
        """Tell what an event looks like now."""
        if gauges := self._pairs.get((activity.source, activity.event)):
            score, active = gauges
            score.set(activity.smooth)
            active.set(activity.active)

    def enabled(self, source: str, event: str, on: bool) -> None:
        """Tell whether an event is detected, or it or its source is switched off."""
        if (source, event) in self._pairs:
            self._enabled.labels(source, event).set(on)

    def event(self, event: Event) -> None:
        """Tell of a start or an end."""
        pair = (event.source, event.name)
        if pair in self._pairs:
            self._active.labels(*pair).set(event.phase is Phase.START)
            if event.phase is Phase.START:
                self._events.labels(*pair).inc()

    def clip(self, source: str, outcome: ClipOutcome) -> None:
        """Tell what became of an event's recording."""
        if source in self._sources:
            self._clips.labels(source, outcome).inc()

    def clip_bytes(self, total: int) -> None:
        """Tell how large all recordings are together."""
        self._clip_bytes.set(total)

    def hook(self, hook: str, outcome: HookOutcome) -> None:
        """Tell how an attempt to tell a webhook or command went."""
        self._hooks.labels(hook, outcome).inc()

    def hook_outbox(self, hook: str, pending: int, unsaved: int, dropped: Mapping[str, int]) -> None:
        """Tell of a webhook or command what `outbox` tells of the broker."""
        self._hook_waiting.labels(hook).set(pending)
        self._hook_unsaved.labels(hook).set(unsaved)
        for reason, total in dropped.items():
            self._count(self._hook_dropped.labels(hook, reason), total)

    def mqtt(self, connected: bool | None) -> None:
        """Tell whether the broker has accepted the connection; None: MQTT is turned off."""
        self._mqtt.set(math.nan if connected is None else connected)

    def publish_failures(self, total: int) -> None:
        """Tell how many messages the broker didn't take since the start."""
        self._count(self._publish_failures, total)

    def outbox(self, pending: int, oldest_at: float | None, unsaved: int, dropped: Mapping[str, int]) -> None:
        """Tell how many events wait for the broker and since when (Unix seconds), and what became of others.

        `unsaved`: how many of them are in memory only; `dropped`: by reason, since the start.
        """
        self._outbox.set(pending)
        self._outbox_oldest.set(oldest_at or 0.0)
        self._outbox_unsaved.set(unsaved)
        for reason, total in dropped.items():
            self._count(self._outbox_dropped.labels(reason), total)

    def rebuilds(self, total: int) -> None:
        """Tell how often the model had to be loaded anew since the start."""
        self._count(self._rebuilds, total)

    def history(self, written: int, dropped: int) -> None:
        """Tell how many windows the history has kept and lost since the start."""
        self._count(self._history_written, written)
        self._count(self._history_dropped, dropped)

    def _count(self, counter: Counter, total: int) -> None:
        """Raise it to what somebody else has counted since the start."""
        counter.inc(total - self._told.get(counter, 0))
        self._told[counter] = total

    def reload(self, ok: bool, at: float) -> None:
        """Tell how the last reading of the configuration went; the first one counts too."""
        self._reload_ok.set(ok)
        if ok:
            self._reloaded_at.set(at)
