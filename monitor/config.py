"""The configuration's shape: what may be said in YAML, its defaults and its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.config_events import (
    EmaSmoothing,
    EventConfig,
    MedianSmoothing,
    NoSmoothing,
    Smoothing,
    short_form,
)
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
)
from monitor.fields import (
    Between,
    Dbfs,
    FilePath,
    Number,
    Section,
    Slug,
    SomePrompts,
    Text,
    Whole,
    did_you_mean,
    finding,
)

__all__ = [
    "DEFAULT_BACKGROUND",
    "ClipsConfig",
    "Config",
    "DemoSource",
    "EmaSmoothing",
    "EncoderConfig",
    "EventConfig",
    "FfmpegSource",
    "FileSource",
    "HistoryConfig",
    "HttpConfig",
    "LogConfig",
    "MedianSmoothing",
    "MicrophoneSource",
    "MqttConfig",
    "NoSmoothing",
    "OutboxConfig",
    "PcmSource",
    "PrivacyConfig",
    "Section",
    "Smoothing",
    "SourceConfig",
    "TlsConfig",
    "WindowsConfig",
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
    threads: Annotated[Whole, Between(1, 256)] = 1
    """CPU threads of the model."""
    max_batch: Annotated[Whole, Between(1, 4096)] = 64
    """Windows scored together at most."""

    @model_validator(mode="after")
    def _compact_is_for_processors(self) -> Self:
        if self.model == "compact" and self.device == "cuda":
            raise finding("isn't for the model compact, which runs on the processor; set auto", "device")
        return self


class WindowsConfig(Section):
    """How the sound is cut."""

    window_seconds: Annotated[Number, Between(0.5, 10)] = 2.0
    """Length of sound that is scored at once; the event should fill much of it."""
    hop_seconds: Annotated[Number, Between(0.1, 10)] = 0.5
    """A window starts every hop; at most the window, so that no sound falls between two."""
    min_level_dbfs: Dbfs = -70.0
    """Windows whose newest hop is quieter than this aren't scored: every event gets 0."""

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

    def listens(self, source: str, event: str) -> bool:
        """Tell whether an event is listened for on a source."""
        sources = self.events[event].sources
        return sources is None or source in sources

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
            if self.scoring == "exclusive" and not event.prompts:
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
    def _event_sources_exist(self) -> Self:
        for name, event in self.events.items():
            for index, source in enumerate(event.sources or ()):
                if source not in self.sources:
                    known = ", ".join(self.sources)
                    says = f"is not one of the sources ({known}){did_you_mean(source, self.sources)}"
                    raise finding(says, "events", name, "sources", index)
        return self
