"""The configuration's shape: where sound comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from monitor.fields import (
    Between,
    FilePath,
    Flag,
    Number,
    Port,
    Section,
    Text,
    Whole,
    did_you_mean,
    finding,
    with_default,
)

FFMPEG_OPTIONS = frozenset(
    {"allowed_media_types", "analyzeduration", "auth_type", "buffer_size", "ca_file", "cert_file"}
    | {"cookies", "fflags", "flags", "headers", "http_proxy", "key_file", "latency", "listen_timeout"}
    | {"live_start_index", "localaddr", "max_delay", "mode", "multiple_requests", "passphrase", "pbkeylen"}
    | {"probesize", "protocol_whitelist", "referer", "reorder_queue_size", "rtsp_flags", "rtsp_transport"}
    | {"rw_timeout", "seekable", "streamid", "timeout", "tls_verify", "user_agent", "verify"}
)
"""Options of ffmpeg's inputs that say how to reach and read one; none names a file but for certificates."""


def _address(value: str, info: ValidationInfo) -> str:
    """Resolve what is no URL against the folder of the configuration file."""
    if any(ord(character) < 0x20 for character in value):
        raise finding("holds a line break or another control character; write it in one line")
    if "://" in value or not info.context:
        return value
    return str(Path(info.context["folder"], value))


def _known_option(name: str) -> str:
    if name not in FFMPEG_OPTIONS:
        near = did_you_mean(name, FFMPEG_OPTIONS)
        raise finding(f"is no input option that may be given{near or '; see the README for those that may'}")
    return name


def _one_line(value: str) -> str:
    if any(character in value for character in "\0\n\r"):
        raise finding("holds a line break; write it in one line")
    return value


def _endpoint(value: object) -> object:
    """Put a port alone on loopback."""
    return f"127.0.0.1:{value}" if type(value) is int or str(value).isdecimal() else value


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Take an endpoint apart; an IPv6 address loses its brackets."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _whole_endpoint(value: str) -> str:
    host, port = host_and_port(value) if re.fullmatch(r".+:[0-9]{1,5}", value) else ("", 0)
    if not host or not 0 < port < 65_536:
        raise finding("is not a port or host:port; write it as in  192.168.1.7:4010")
    return value


Endpoint = Annotated[
    str,
    BeforeValidator(
        _endpoint,
        json_schema_input_type=Port
        | Annotated[str, Field(pattern="^([^:]+|\\[[^\\]]+\\]):[0-9]+$|^[0-9]+$")],
    ),
    AfterValidator(_whole_endpoint),
]
FfmpegOption = Annotated[
    str, Field(json_schema_extra={"enum": sorted(FFMPEG_OPTIONS)}), AfterValidator(_known_option)
]


class SourceSection(Section):
    """What every kind of source has."""

    type: str
    gain_db: Annotated[Number, Between(-60, 60)] = 0.0
    """Makes the sound louder or, below 0, softer, before anything else sees it; nothing is clipped."""
    high_pass_hz: Annotated[Number, Between(10, 2000)] | None = None
    """Takes away what is lower, such as rumble and wind: 12 dB an octave below this."""


class MicrophoneSource(SourceSection):
    """An input of the sound card, by name."""

    type: Literal["microphone"] = "microphone"
    device: Text | None = None
    """Part of the device's name as `sound-monitor devices` lists it; the system's default when absent."""
    channel: Annotated[Whole, Between(1, 64)] = 1
    """Which channel of the device to listen to, from 1. Several sources may have channels of one device, if
    they name it alike."""
    block_seconds: Annotated[Number, Between(0.02, 0.5)] = 0.05
    """Length of the blocks in which the sound card delivers."""
    stuck_seconds: Annotated[Number, Between(1, 3600)] = 10.0
    """Exact zeros, or one constant value, for this long is a muted or broken input."""


class FileSource(SourceSection):
    """A recording, played as if it were live."""

    type: Literal["file"]
    path: FilePath
    """WAV, FLAC, OGG or MP3; relative to the configuration file."""
    loop: Flag = False
    """Start again at the end; otherwise the source ends there."""
    realtime: Flag = True
    """Deliver at the recording's own pace; otherwise as fast as the scoring takes it."""


class DemoSource(SourceSection):
    """A made-up scene of everyday sounds, for a first look without a microphone."""

    type: Literal["demo"]
    seed: Annotated[Whole, Between(0, 2**32 - 1)] = 1
    """The same seed gives the same scene."""


class FfmpegSource(SourceSection):
    """Whatever ffmpeg reads: a camera's RTSP, a web radio, a file of any kind."""

    type: Literal["ffmpeg"]
    url: Annotated[Text, Field(repr=False), AfterValidator(_address)]
    """An address (rtsp://, http://, ...) or a file, relative to the configuration file. ffmpeg gets it by a
    pipe, so that a password in it stands in no list of processes."""
    channel: Annotated[Whole, Between(1, 64)] | None = None
    """Which channel to listen to, from 1; without it, all are mixed."""
    options: dict[FfmpegOption, Annotated[Text, AfterValidator(_one_line)] | Whole | Number] = Field(
        default={}, repr=False
    )
    """Input options of ffmpeg, such as `rtsp_transport: udp`."""
    live: Flag | None = None
    """true: sound of now, which may not end; false: a recording, at its own pace, once. Default: true for an
    address, false for a file."""
    stall_seconds: Annotated[Number, Between(1, 12)] = 10.0
    """Without data for this long, it is opened anew."""

    @property
    def is_live(self) -> bool:
        """Whether its end is a failure."""
        return "://" in self.url and not self.url.startswith("file:") if self.live is None else self.live


class PcmSource(SourceSection):
    """Raw samples over TCP or from standard input; exactly one of listen, connect and path."""

    type: Literal["pcm"]
    listen: Endpoint | None = None
    """Wait for one client here: a port alone is on loopback, `0.0.0.0:4010` is open to the network."""
    connect: Endpoint | None = None
    """Fetch the samples from this `host:port`."""
    path: Literal["-"] | None = None
    """`-` is standard input, which ends the source when it ends."""
    rate_hz: Annotated[Whole, Between(4_000, 384_000)] = 16_000
    """Frames a second."""
    encoding: Literal["s16le", "s32le", "f32le"] = "s16le"
    """Of the samples: signed integers or floats, little-endian."""
    channels: Annotated[Whole, Between(1, 64)] = 1
    """Samples in a frame."""
    channel: Annotated[Whole, Between(1, 64)] | None = None
    """Which channel to listen to, from 1; without it, all are mixed."""
    stall_seconds: Annotated[Number, Between(1, 12)] = 10.0
    """A sender that is silent for this long is disconnected."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [key for key in ("listen", "connect", "path") if getattr(self, key) is not None]
        if not given:
            raise finding("has none of listen, connect and path; add one, such as  listen: 4010")
        if len(given) > 1:
            raise finding(f"can't stand beside {given[0]}; keep one", given[1])
        if self.channel is not None and self.channel > self.channels:
            raise finding(f"is more than channels ({self.channels}); raise that, or lower this", "channel")
        return self


SourceConfig = Annotated[
    MicrophoneSource | FileSource | DemoSource | FfmpegSource | PcmSource,
    Field(discriminator="type"),
    with_default("type", "microphone"),
]
