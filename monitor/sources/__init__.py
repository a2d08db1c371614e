"""Where sound comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from monitor.config import SourceConfig
    from monitor.sources.sharing import Captures
    from monitor.types import Source


def open_source(name: str, config: SourceConfig, rate_hz: int, captures: Captures | None = None) -> Source:
    """Return a source of mono audio at rate_hz; entering it opens it, and may raise SourceError.

    Microphones that are given the same `captures` share their devices.
    """
    # Imported here because the capture helper passes through this module and must start quickly.
    from monitor.config import (  # noqa: PLC0415
        DemoSource,
        FfmpegSource,
        FileSource,
        MicrophoneSource,
        PcmSource,
    )
    from monitor.sources.demo import Demo  # noqa: PLC0415
    from monitor.sources.ffmpeg import Ffmpeg  # noqa: PLC0415
    from monitor.sources.file import Recording  # noqa: PLC0415
    from monitor.sources.microphone import Microphone  # noqa: PLC0415
    from monitor.sources.pcm import Pcm  # noqa: PLC0415
    from monitor.sources.sharing import Captures  # noqa: PLC0415

    match config:
        case MicrophoneSource():
            return Microphone(name, config, rate_hz, captures or Captures())
        case FileSource():
            return Recording(name, config, rate_hz)
        case DemoSource():
            return Demo(name, config, rate_hz)
        case FfmpegSource():
            return Ffmpeg(name, config, rate_hz)
        case PcmSource():
            return Pcm(name, config, rate_hz)
        case _:
            assert_never(config)
