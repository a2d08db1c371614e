"""The configuration's shape: what may be said in YAML, its defaults and its bounds."""

from __future__ import annotations

import ipaddress
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.config_events import (
    DAYS,
    EmaSmoothing,
    EventConfig,
    LevelConfig,
    MedianSmoothing,
    NoSmoothing,
    ScheduleEntry,
    Smoothing,
    short_form,
)
from monitor.config_hooks import CommandConfig, HookConfig, WebhookConfig
from monitor.config_outlets import (
    ClipsConfig,
    HistoryConfig,
    HttpConfig,
    LogConfig,
    MqttConfig,
    OutboxConfig,
    PrivacyConfig,
    TlsConfig,
)
from monitor.config_sources import (
    DemoSource,
    FfmpegSource,
    FileSource,
    MicrophoneSource,
    PcmSource,
    SourceConfig,
    host_and_port,
)
from monitor.fields import (
    Between,
    Dbfs,
    FilePath,
    Number,
    Section,
    Slug,
    Slugs,
    SomePrompts,
    Text,
    Whole,
    did_you_mean,
    finding,
)

__all__ = [
    "DAYS",
    "DEFAULT_BACKGROUND",
    "ChangeGateConfig",
    "ClipsConfig",
    "CommandConfig",
    "Config",
    "DemoSource",
    "EmaSmoothing",
    "EncoderConfig",
    "EventConfig",
    "FfmpegSource",
    "FileSource",
    "HistoryConfig",
    "HookConfig",
    "HttpConfig",
    "LevelConfig",
    "LogConfig",
    "MedianSmoothing",
    "MicrophoneSource",
    "MqttConfig",
    "NoSmoothing",
    "OutboxConfig",
    "PcmSource",
    "PrivacyConfig",
    "ScheduleEntry",
    "Section",
    "Smoothing",
    "SourceConfig",
    "TlsConfig",
    "WebhookConfig",
    "WindowsConfig",
    "host_and_port",
    "short_form",
]


class EncoderConfig(Section):
    """The model that turns sound and words into embeddings."""

    model: Text = "compact"
    """`compact` (built in), a hub name such as `laion/clap-htsat-unfused`, or a folder."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where it runs; auto takes the graphics card when there is one (`compact` needs none)."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """float32 is exact; the half types are faster and drift by up to about 0.01 in score."""
    runtime: Literal["builtin", "openvino"] = "builtin"
    """What calculates on a processor; openvino is faster, and installed by `sound-monitor[openvino]`."""
    threads: Annotated[Whole, Between(1, 256)] = 1
    """CPU threads of the model."""
    max_batch: Annotated[Whole, Between(1, 4096)] = 64
    """Windows scored together at most."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.model == "compact" and self.device == "cuda":
            raise finding("isn't for the model compact, which runs on the processor; set auto", "device")
        if self.runtime == "openvino" and self.device == "cuda":
            raise finding("isn't for runtime: openvino, which runs on the processor; set auto", "device")
        if self.model == "compact" and self.runtime == "builtin" and self.dtype != "float32":
            raise finding("needs runtime: openvino where the model is compact; set it, or float32", "dtype")
        return self


class ChangeGateConfig(Section):
    """When a steady room's last embedding is used again."""

    tolerance_db: Annotated[Number, Between(0.1, 20)] = 3.0
    """How far the level of a band of the newest sound may move from that of the last sound embedded."""
    max_seconds: Annotated[Number, Between(0.1, 60)] = 5.0
    """After this long, a window is embedded though nothing has moved."""


class WindowsConfig(Section):
    """How the sound is cut."""

    window_seconds: Annotated[Number, Between(0.5, 10)] = 2.0
    """Length of sound that is scored at once; the event should fill much of it."""
    hop_seconds: Annotated[Number, Between(0.1, 10)] = 0.5
    """A window starts every hop; at most the window, so that no sound falls between two."""
    min_level_dbfs: Dbfs = -70.0
    """Windows whose newest hop is quieter than this aren't scored: every event gets 0."""
    change_gate: ChangeGateConfig | None = None
    """`{}` saves the model's work while a room's sound doesn't change: its last embedding is used again."""

    @model_validator(mode="after")
    def _hop_fits(self) -> Self:
        if self.hop_seconds > self.window_seconds:
            says = (
                f"is longer than window_seconds ({self.window_seconds:g}): sounds would be missed; lower it"
            )
            raise finding(says, "hop_seconds")
        return self


DEFAULT_BACKGROUND: tuple[str, ...] = (
    "silence",
    "quiet room tone",
    "background noise",
    "people talking",
    "music playing",
    "wind blowing into the microphone",
    "traffic in the distance",
)


class Config(Section):
    """The whole configuration file."""

    sources: dict[Slug, SourceConfig] = Field(min_length=1, max_length=1024)
    """What is listened to, by names of your choice."""
    events: dict[
        Slug,
        Annotated[EventConfig, BeforeValidator(short_form, json_schema_input_type=EventConfig | SomePrompts)],
    ] = Field(min_length=1, max_length=1024)
    """What is listened for, by names of your choice: `dog_bark: a dog barking`, a list, or in full."""
    background: SomePrompts = DEFAULT_BACKGROUND
    """What the room sounds like when none of the events is there."""
    scoring: Literal["independent", "exclusive"] = "independent"
    """independent: each event against its negatives and the background; exclusive: softmax over all."""
    encoder: EncoderConfig = EncoderConfig()
    windows: WindowsConfig = WindowsConfig()
    smoothing: Smoothing = EmaSmoothing()
    """How scores are steadied before they are compared with thresholds."""
    mqtt: MqttConfig | None = MqttConfig()
    """null turns MQTT off."""
    outbox: OutboxConfig = OutboxConfig()
    history: HistoryConfig | None = None
    """`{}` keeps what was heard as embeddings, to be searched and tried against; null keeps nothing."""
    webhooks: dict[Slug, WebhookConfig] = Field(default={}, max_length=32)
    """Addresses that get every event by POST, by names of your choice."""
    commands: dict[Slug, CommandConfig] = Field(default={}, max_length=32)
    """Programs that are run for every event, by names of your choice."""
    http: HttpConfig = HttpConfig()
    clips: ClipsConfig | None = None
    """Recordings of the events; null: no sound is ever stored."""
    privacy: PrivacyConfig = PrivacyConfig()
    log: LogConfig = LogConfig()
    state_directory: FilePath | None = None
    """Where the outbox lies. Default: $STATE_DIRECTORY (systemd), else ~/.local/state/sound-monitor."""

    def smoothing_of(self, event: str) -> EmaSmoothing | MedianSmoothing | NoSmoothing:
        """Return the smoothing in force for an event."""
        return self.events[event].smoothing or self.smoothing

    def gate_of(self, event: str) -> float:
        """Return the level in dBFS below which an event scores 0."""
        rules = self.events[event]
        if rules.level is not None:
            return -math.inf
        return self.windows.min_level_dbfs if rules.min_level_dbfs is None else rules.min_level_dbfs

    def listens(self, source: str, event: str) -> bool:
        """Tell whether an event is listened for on a source."""
        sources = self.events[event].sources
        return sources is None or source in sources

    def judges(self, source: str) -> bool:
        """Tell whether all that is heard of a source must be judged, lest a clip hold what the veto names."""
        kept = any(event.clip and self.listens(source, name) for name, event in self.events.items())
        return self.clips is not None and bool(self.privacy.veto) and kept

    @property
    def hook_labels(self) -> tuple[str, ...]:
        """What the webhooks and commands are called in logs and metrics."""
        return (
            *(f"webhook {name}" for name in self.webhooks),
            *(f"command {name}" for name in self.commands),
        )

    def switches(self) -> Iterator[tuple[str, str | None]]:
        """Yield what can be switched off by hand: each source, and each event that is listened for on it."""
        for source in self.sources:
            yield source, None
            for event in self.events:
                if self.listens(source, event):
                    yield source, event

    @model_validator(mode="after")
    def _exclusive_has_words(self) -> Self:
        for name, event in self.events.items():
            if self.scoring == "exclusive" and not event.prompts and event.level is None:
                raise finding("has no prompts, which scoring: exclusive compares; add some", "events", name)
        return self

    @model_validator(mode="after")
    def _one_reads_standard_input(self) -> Self:
        readers = [
            name
            for name, source in self.sources.items()
            if isinstance(source, PcmSource) and source.path is not None
        ]
        if len(readers) > 1:
            raise finding(f"is read by {readers[0]} already; use listen: here", "sources", readers[1], "path")
        return self

    @model_validator(mode="after")
    def _each_listens_at_a_port_of_its_own(self) -> Self:
        taken: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for route, host, port in self._listeners():
            for other, its_host in taken[port]:
                if _overlap(host, its_host):
                    raise finding(f"is taken by {other}; name another port", *route)
            taken[port].append((".".join(route), host))
        return self

    def _listeners(self) -> Iterator[tuple[tuple[str, ...], str, int]]:
        """Yield field, host and port; a default first, since an error is about a line of the file."""
        outlets: list[tuple[tuple[str, ...], str, int]] = []
        if self.mqtt is not None and self.mqtt.broker == "embedded":
            outlets.append((("mqtt", "port"), "127.0.0.1", self.mqtt.port_in_force))
        if self.http.enabled and self.http.port:
            outlets.append((("http", "port"), self.http.host, self.http.port))
        yield from outlets if "port" in self.http.model_fields_set else reversed(outlets)
        for name, source in self.sources.items():
            if isinstance(source, PcmSource) and source.listen is not None:
                yield ("sources", name, "listen"), *host_and_port(source.listen)

    @model_validator(mode="after")
    def _event_sources_exist(self) -> Self:
        for name, event in self.events.items():
            _all_known(event.sources, self.sources, "events", name, "sources")
        return self

    @model_validator(mode="after")
    def _hooks_name_what_there_is(self) -> Self:
        for kind, hooks in (("webhooks", self.webhooks), ("commands", self.commands)):
            for name, hook in hooks.items():
                _all_known(hook.sources, self.sources, kind, name, "sources")
                _all_known(hook.events, self.events, kind, name, "events")
        return self


def _all_known(names: Slugs | None, known: Mapping[str, object], *route: str) -> None:
    """Raise a finding where a name isn't one of those that are known."""
    for index, name in enumerate(names or ()):
        if name not in known:
            says = f"is not one of the {route[-1]} ({', '.join(known)}){did_you_mean(name, known)}"
            raise finding(says, *route, index)


def _overlap(one: str, other: str) -> bool:
    """Tell whether two hosts can't both have a port: they are the same, or one is all of its family."""
    try:
        a, b = (ipaddress.ip_address("127.0.0.1" if host == "localhost" else host) for host in (one, other))
    except ValueError:
        return one == other
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))
