"""The configuration's shape: where sound comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monitor.fields import Between, FilePath, Flag, Number, Section, Text, Whole, with_default


class MicrophoneSource(Section):
    """An input of the sound card, by name."""

    type: Literal["microphone"] = "microphone"
    device: Text | None = None
    """Part of the device's name as `sound-monitor devices` lists it; the system's default when absent."""
    channel: Annotated[Whole, Between(1, 64)] = 1
    """Which channel of the device to listen to, from 1."""
    block_seconds: Annotated[Number, Between(0.02, 0.5)] = 0.05
    """Length of the blocks in which the sound card delivers."""
    stuck_seconds: Annotated[Number, Between(1, 3600)] = 10.0
    """Exact zeros, or one constant value, for this long is a muted or broken input."""


class FileSource(Section):
    """A recording, played as if it were live."""

    type: Literal["file"]
    path: FilePath
    """WAV, FLAC, OGG or MP3; relative to the configuration file."""
    loop: Flag = False
    """Start again at the end; otherwise the source ends there."""
    realtime: Flag = True
    """Deliver at the recording's own pace; otherwise as fast as the scoring takes it."""


class DemoSource(Section):
    """A made-up scene of everyday sounds, for a first look without a microphone."""

    type: Literal["demo"]
    seed: Annotated[Whole, Between(0, 2**32 - 1)] = 1
    """The same seed gives the same scene."""


SourceConfig = Annotated[
    MicrophoneSource | FileSource | DemoSource,
    Field(discriminator="type"),
    with_default("type", "microphone"),
]
