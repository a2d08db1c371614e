"""The configuration's shape: what may be said in YAML, its defaults and its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.config_sources import DemoSource, FileSource, MicrophoneSource, SourceConfig
from monitor.fields import (
    Between,
    Dbfs,
    DeviceClass,
    FilePath,
    Flag,
    Form,
    Host,
    Number,
    Port,
    Probability,
    Prompts,
    Seconds,
    Section,
    Slug,
    Slugs,
    SomeFiles,
    SomePrompts,
    Text,
    Whole,
    did_you_mean,
    finding,
    with_default,
)

__all__ = [
    "DEFAULT_BACKGROUND",
    "Config",
    "DemoSource",
    "EmaSmoothing",
    "EncoderConfig",
    "EventConfig",
    "FileSource",
    "HttpConfig",
    "LogConfig",
    "MedianSmoothing",
    "MicrophoneSource",
    "MqttConfig",
    "NoSmoothing",
    "OutboxConfig",
    "Section",
    "Smoothing",
    "SourceConfig",
    "TlsConfig",
    "WindowsConfig",
    "short_form",
]

SmoothingSeconds = Annotated[Number, Between(0, 3600)]


class EmaSmoothing(Section):
    """Exponential moving average; its step response reaches 63 % after `seconds`."""

    method: Literal["ema"] = "ema"
    seconds: SmoothingSeconds = 0.75


class MedianSmoothing(Section):
    """Median of the scores of the last `seconds`."""

    method: Literal["median"]
    seconds: SmoothingSeconds = 1.5


class NoSmoothing(Section):
    """Decide on every window's score as it comes."""

    method: Literal["none"]


Smoothing = Annotated[
    EmaSmoothing | MedianSmoothing | NoSmoothing,
    Field(discriminator="method"),
    with_default("method", "ema"),
]


class EventConfig(
    Section, json_schema_extra={"anyOf": [{"required": ["prompts"]}, {"required": ["examples"]}]}
):
    """One sound to listen for."""

    prompts: SomePrompts = ()
    """The sound in your own words; several wordings are averaged."""
    examples: SomeFiles = ()
    """Recordings of the sound itself, beside `prompts` or instead of them: WAV, FLAC, OGG or MP3, relative to
    the configuration file."""
    negatives: Prompts = ()
    """Sounds that are often mistaken for it, in words; they take probability away from this event only."""
    on_threshold: Probability = 0.5
    """The event begins when the smoothed score was at least this for `min_on_seconds`."""
    off_threshold: Probability | None = None
    """The event ends when the smoothed score was below this for `min_off_seconds`; default: 0.7 of on."""
    min_on_seconds: Seconds = 0.0
    """Shorter than this, a high score doesn't begin an event."""
    min_off_seconds: Seconds = 1.0
    """Shorter than this, a low score doesn't end an event."""
    cooldown_seconds: Seconds = 0.0
    """After an end, the event can't begin again for this long."""
    max_duration_seconds: Seconds | None = None
    """An event that lasts longer is ended (reason `max_duration`) and must fall below off before the next."""
    smoothing: Smoothing | None = None
    """Overrides the common `smoothing`."""
    min_level_dbfs: Dbfs | None = None
    """Windows quieter than this score 0; overrides the common gate of `windows`."""
    device_class: DeviceClass | None = None
    """Home Assistant's device class for the binary sensor."""
    sources: Slugs | None = None
    """Listen for it on these sources only; default: all."""

    @property
    def off(self) -> float:
        """The off-threshold in force."""
        return 0.7 * self.on_threshold if self.off_threshold is None else self.off_threshold

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        if not (self.prompts or self.examples):
            raise finding("has neither prompts nor examples; add one of them")
        return self

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.off_threshold is not None and self.off_threshold > self.on_threshold:
            raise finding(f"is above on_threshold ({self.on_threshold:g}); lower it", "off_threshold")
        return self


def short_form(value: object) -> object:
    """Write an event given by its prompts alone as a mapping."""
    return {"prompts": value} if isinstance(value, str | list) else value


class EncoderConfig(Section):
    """The model that turns sound and words into embeddings."""

    model: Text = "compact"
    """`compact` (built in), a hub name such as `laion/clap-htsat-unfused`, or a folder."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where it runs; auto takes the graphics card when there is one."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """float32 is exact; the half types are faster and drift by up to about 0.01 in score."""
    threads: Annotated[Whole, Between(1, 256)] = 1
    """CPU threads of the model."""
    max_batch: Annotated[Whole, Between(1, 4096)] = 64
    """Windows scored together at most."""


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


class TlsConfig(Section):
    """Encryption towards the broker; the host name is always checked."""

    ca_file: FilePath | None = None
    """Certificate authority to trust; the system's when absent."""
    cert_file: FilePath | None = None
    """The client's certificate, where the broker wants one."""
    key_file: FilePath | None = None
    """The key of `cert_file`."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        given = {"cert_file": self.cert_file, "key_file": self.key_file}
        for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if given[key] is not None and given[other] is None:
                raise finding(f"needs {other} beside it; give both or neither", key)
        return self


class MqttConfig(Section):
    """Where the events are published."""

    broker: Host = "embedded"
    """`embedded` (a broker inside this process, on loopback) or a host name or address."""
    port: Port | None = None
    """Default: 1883, or 8883 with `tls`."""
    username: Text | None = None
    """The broker's user."""
    password: Text | None = Field(default=None, repr=False)
    """Better kept in `password_file` or in `${VARIABLE}`."""
    password_file: FilePath | None = None
    """The first line of this file is the password; beats `password`. Default: systemd's credential
    `mqtt-password` where there is one."""
    tls: TlsConfig | None = None
    """Encrypt; `{}` trusts the system's authorities."""
    client_id: Annotated[Text, Field(max_length=128)] = "sound-monitor"
    """Must differ between the broker's clients."""
    prefix: Annotated[
        Text,
        Form(
            r"[^#+/\s$][^#+/\s]*(/[^#+/\s]+)*",
            "is not a topic; leave out spaces, #, +, a leading $ and empty levels",
        ),
    ] = "sound-monitor"
    """First part of every topic."""
    version: Annotated[
        Literal["3.1.1", "5"],
        BeforeValidator(
            lambda value: "5" if value == 5 else value, json_schema_input_type=Literal["3.1.1", "5", 5]
        ),
    ] = "3.1.1"
    """Of the MQTT protocol."""
    keepalive_seconds: Annotated[Whole, Between(5, 600)] = 15
    """A broker silent for about this long counts as lost."""
    publish_scores: Flag = False
    """Publish every smoothed score and level too (QoS 0, not retained)."""

    @property
    def port_in_force(self) -> int:
        """The port, or the default for its kind."""
        return self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tls and self.broker == "embedded":
            raise finding("goes with a broker of your own, not with the embedded one; remove it", "tls")
        for key in ("password", "password_file"):
            if getattr(self, key) is not None and self.username is None and self.version == "3.1.1":
                raise finding("needs username beside it; add it", key)
        return self


class OutboxConfig(Section):
    """Events that the broker hasn't acknowledged yet."""

    path: Path = Path("outbox.db")
    """SQLite file, relative to the state directory."""
    max_events: Annotated[Whole, Between(100, 10_000_000)] = 100_000
    """The oldest are dropped beyond this, and counted."""
    max_age_days: Annotated[Number, Between(0.01, 365)] = 7.0
    """Older ones are dropped, and counted."""


class HttpConfig(Section):
    """The page, the metrics and the health check."""

    enabled: Flag = True
    """false opens no port."""
    host: Host = "127.0.0.1"
    """Address to listen on; anything but loopback shows the page to the network, without a password."""
    port: Annotated[Whole, Between(0, 65_535)] = 9464
    """0 takes any free port."""


class LogConfig(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious lines that are shown."""
    format: Literal["text", "json"] = "text"
    """json: one object a line, for log collectors."""


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
    http: HttpConfig = HttpConfig()
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

    @model_validator(mode="after")
    def _exclusive_has_words(self) -> Self:
        for name, event in self.events.items():
            if self.scoring == "exclusive" and not event.prompts:
                raise finding("has no prompts, which scoring: exclusive compares; add some", "events", name)
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
