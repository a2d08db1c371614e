"""The configuration's shape: where sound comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from monitor.fields import (
    Between,
    FilePath,
    Flag,
    Number,
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


SourceConfig = Annotated[
    MicrophoneSource | FileSource | DemoSource | FfmpegSource,
    Field(discriminator="type"),
    with_default("type", "microphone"),
]
