"""The configuration's shape: where results go, and what is kept until they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.fields import (
    Between,
    FilePath,
    Flag,
    Form,
    Host,
    Number,
    Port,
    Probability,
    Prompts,
    Section,
    Text,
    Whole,
    finding,
)


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


_TOPIC = Form(
    r"[^#+/\s$][^#+/\s]*(/[^#+/\s]+)*",
    "is not a topic; leave out spaces, #, +, a leading $ and empty levels",
)


class HomeAssistantConfig(Section):
    """How Home Assistant finds the sources and events by itself."""

    enabled: Flag = True
    """Announce them; false takes them away from Home Assistant."""
    discovery_prefix: Annotated[Text, _TOPIC] = "homeassistant"
    """The one that is set in Home Assistant's MQTT integration."""
    sensor_seconds: Annotated[Number, Between(1, 3600)] = 10.0
    """Time between two messages about levels and counters."""


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
    prefix: Annotated[Text, _TOPIC] = "sound-monitor"
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
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()

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


class HistoryConfig(Section):
    """What was heard, kept as embeddings: for `search` and `backtest`. No sound is in it."""

    directory: Path = Path("history")
    """Folder, relative to the state directory."""
    keep_days: Annotated[Number, Between(0.01, 3650)] = 14.0
    """Older is deleted."""
    max_bytes: Annotated[Whole, Between(1_000_000, 1_000_000_000_000_000)] = 10_000_000_000
    """Beyond this the oldest hours are deleted."""


class HttpConfig(Section):
    """The page, the metrics and the health check."""

    enabled: Flag = True
    """false opens no port."""
    host: Host = "127.0.0.1"
    """Address to listen on; anything but loopback shows the page to the network: set `token_file` then."""
    port: Annotated[Whole, Between(0, 65_535)] = 9464
    """0 takes any free port."""
    token_file: FilePath | None = None
    """The first line of this file is asked for as a bearer token, everywhere but at /healthz. Default:
    systemd's credential `http-token`; without either, nothing is asked for."""


class ClipsConfig(Section):
    """Recordings of the events, which are made only where this section is."""

    directory: FilePath
    """Where they go: a FLAC file of 16 bits each, by source and day; made if it isn't there."""
    pre_seconds: Annotated[Number, Between(0, 60)] = 3.0
    """Sound before the event's beginning."""
    post_seconds: Annotated[Number, Between(0, 60)] = 3.0
    """Sound after the event's end."""
    max_seconds: Annotated[Number, Between(1, 600)] = 60.0
    """Length of a clip at most; the rest of a longer event isn't recorded."""
    keep_days: Annotated[Number, Between(0.01, 3650)] = 30.0
    """Older clips are removed."""
    max_bytes: Annotated[Whole, Between(1_000_000, 10**13)] = 1_000_000_000
    """The oldest clips are removed beyond this."""
    serve: Flag = False
    """Let the page play them, to whoever can open the page."""


class PrivacyConfig(Section):
    """What must not be in a clip; the event is told all the same, without one."""

    veto: Prompts = ()
    """In words, such as `[a person speaking, a child talking]`: what sounds like one of them isn't kept,
    nor what could not be judged. The model hears all of a source with clips then, however quiet it is."""
    threshold: Probability = 0.5
    """Score of one window from which on a clip is dropped."""


class LogConfig(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious lines that are shown."""
    format: Literal["text", "json"] = "text"
    """json: one object a line, for log collectors."""
