"""The configuration's shape: what may be said in YAML, its defaults and its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0)]
Dbfs = Annotated[float, Field(ge=-120.0, le=0.0)]


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


Prompts = Annotated[tuple[Prompt, ...], BeforeValidator(_one_or_many)]


class Section(BaseModel):
    """Frozen, and strict about names: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class MicrophoneSource(Section):
    """An input of the sound card, by name."""

    type: Literal["microphone"] = "microphone"
    device: str | None = None
    """Part of the device's name as `sound-monitor devices` lists it; the system's default when absent."""
    channel: int = Field(default=1, ge=1, le=64)
    """Which channel of the device to listen to, from 1."""
    block_seconds: float = Field(default=0.05, ge=0.02, le=0.5)
    """Length of the blocks in which the sound card delivers."""
    stuck_seconds: float = Field(default=10.0, ge=1.0, le=3600.0)
    """Exact zeros, or one constant value, for this long is a muted or broken input."""


class FileSource(Section):
    """A recording, played as if it were live."""

    type: Literal["file"]
    path: Path
    """WAV, FLAC, OGG or MP3; relative to the configuration file."""
    loop: bool = False
    """Start again at the end; otherwise the source ends there."""
    realtime: bool = True
    """Deliver at the recording's own pace; otherwise as fast as the scoring takes it."""


class DemoSource(Section):
    """A made-up scene of everyday sounds, for a first look without a microphone."""

    type: Literal["demo"]
    seed: int = Field(default=1, ge=0)
    """The same seed gives the same scene."""


SourceConfig = Annotated[MicrophoneSource | FileSource | DemoSource, Field(discriminator="type")]


class EmaSmoothing(Section):
    """Exponential moving average; its step response reaches 63 % after `seconds`."""

    method: Literal["ema"] = "ema"
    seconds: Seconds = 0.75


class MedianSmoothing(Section):
    """Median of the scores of the last `seconds`."""

    method: Literal["median"]
    seconds: Seconds = 1.5


class NoSmoothing(Section):
    """Decide on every window's score as it comes."""

    method: Literal["none"]


Smoothing = Annotated[EmaSmoothing | MedianSmoothing | NoSmoothing, Field(discriminator="method")]


class EventConfig(Section):
    """One sound to listen for."""

    prompts: Prompts = Field(min_length=1)
    """The sound in your own words; several wordings are averaged."""
    negatives: Prompts = ()
    """Sounds that are often mistaken for it, in words; they take probability away from this event only."""
    on_threshold: Probability = 0.5
    """The event begins when the smoothed score was at least this for `min_on_seconds`."""
    off_threshold: Probability | None = None
    """The event ends when the smoothed score was below this for `min_off_seconds`; default: 0.7 of on."""
    min_on_seconds: Seconds = 0.0
    min_off_seconds: Seconds = 1.0
    cooldown_seconds: Seconds = 0.0
    """After an end, the event can't begin again for this long."""
    max_duration_seconds: Seconds | None = None
    """An event that lasts longer is ended (reason `max_duration`) and must fall below off before the next."""
    smoothing: Smoothing | None = None
    """Overrides the common `smoothing`."""
    min_level_dbfs: Dbfs | None = None
    """Windows quieter than this score 0; overrides the common gate of `windows`."""
    device_class: str | None = Field(default=None, pattern=r"^[a-z_]+$")
    """Home Assistant's device class for the binary sensor."""
    sources: tuple[Slug, ...] | None = Field(default=None, min_length=1)
    """Listen for it on these sources only; default: all."""

    @property
    def off(self) -> float:
        """The off-threshold in force."""
        return 0.7 * self.on_threshold if self.off_threshold is None else self.off_threshold

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.off_threshold is not None and self.off_threshold > self.on_threshold:
            msg = (
                f"off_threshold {self.off_threshold:g} is above on_threshold {self.on_threshold:g}; lower it"
            )
            raise ValueError(msg)
        return self


def _short_form(value: object) -> object:
    return (
        {"prompts": [value]}
        if isinstance(value, str)
        else {"prompts": value}
        if isinstance(value, list)
        else value
    )


class EncoderConfig(Section):
    """The model that turns sound and words into embeddings."""

    model: str = Field(default="compact", min_length=1)
    """`compact` (built in), a hub name such as `laion/clap-htsat-unfused`, or a folder."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """float32 is exact; the half types are faster and drift by up to about 0.01 in score."""
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of the model."""
    max_batch: int = Field(default=64, ge=1, le=4096)
    """Windows scored together at most."""


class WindowsConfig(Section):
    """How the sound is cut."""

    window_seconds: float = Field(default=2.0, ge=0.5, le=10.0)
    hop_seconds: float = Field(default=0.5, ge=0.1, le=10.0)
    """A window starts every hop; at most the window, so that no sound falls between two."""
    min_level_dbfs: Dbfs = -70.0
    """Windows whose newest hop is quieter than this aren't scored: every event gets 0."""

    @model_validator(mode="after")
    def _hop_fits(self) -> Self:
        if self.hop_seconds > self.window_seconds:
            msg = (
                f"hop_seconds {self.hop_seconds:g} is longer than window_seconds {self.window_seconds:g}: "
                "sounds between windows would be missed; lower it"
            )
            raise ValueError(msg)
        return self


class TlsConfig(Section):
    """Encryption towards the broker; the host name is always checked."""

    ca_file: Path | None = None
    """Certificate authority to trust; the system's when absent."""
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            msg = "cert_file and key_file belong together; give both or neither"
            raise ValueError(msg)
        return self


class MqttConfig(Section):
    """Where the events are published."""

    broker: str = Field(default="embedded", min_length=1)
    """`embedded` (a broker inside this process, on loopback) or a host name or address."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Default: 1883, or 8883 with `tls`."""
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    """The first line of this file is the password; beats `password`. Default: systemd's credential
    `mqtt-password` where there is one."""
    tls: TlsConfig | None = None
    client_id: str = Field(default="sound-monitor", min_length=1, max_length=128)
    prefix: str = Field(default="sound-monitor", pattern=r"^[^#+/\s]+(/[^#+/\s]+)*$")
    """First part of every topic."""
    version: Literal["3.1.1", "5"] = "3.1.1"
    keepalive_seconds: int = Field(default=15, ge=5, le=600)
    publish_scores: bool = False
    """Publish every smoothed score and level too (QoS 0, not retained)."""

    @property
    def port_in_force(self) -> int:
        """The port, or the default for its kind."""
        return self.port or (8883 if self.tls else 1883)


class OutboxConfig(Section):
    """Events that the broker hasn't acknowledged yet."""

    path: Path = Path("outbox.db")
    """SQLite file, relative to the state directory."""
    max_events: int = Field(default=100_000, ge=100)
    max_age_days: float = Field(default=7.0, gt=0.0, le=365.0)


class HttpConfig(Section):
    """The page, the metrics and the health check."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)
    """0 takes any free port."""


class LogConfig(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


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
    events: dict[Slug, Annotated[EventConfig, BeforeValidator(_short_form)]] = Field(min_length=1)
    background: Prompts = Field(default=DEFAULT_BACKGROUND, min_length=1)
    """What the room sounds like when none of the events is there."""
    scoring: Literal["independent", "exclusive"] = "independent"
    """independent: each event against its negatives and the background; exclusive: softmax over all."""
    encoder: EncoderConfig = EncoderConfig()
    windows: WindowsConfig = WindowsConfig()
    smoothing: Smoothing = EmaSmoothing()
    mqtt: MqttConfig | None = MqttConfig()
    """null turns MQTT off."""
    outbox: OutboxConfig = OutboxConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
    state_directory: Path | None = None
    """Where the outbox lies. Default: $STATE_DIRECTORY (systemd), else ~/.local/state/sound-monitor."""

    def smoothing_of(self, event: str) -> EmaSmoothing | MedianSmoothing | NoSmoothing:
        """Return the smoothing in force for an event."""
        return self.events[event].smoothing or self.smoothing

    def listens(self, source: str, event: str) -> bool:
        """Tell whether an event is listened for on a source."""
        sources = self.events[event].sources
        return sources is None or source in sources

    @model_validator(mode="after")
    def _event_sources_exist(self) -> Self:
        for name, event in self.events.items():
            for source in event.sources or ():
                if source not in self.sources:
                    known = ", ".join(self.sources)
                    msg = f"events.{name}.sources: {source!r} is not one of the sources ({known})"
                    raise ValueError(msg)
        return self
