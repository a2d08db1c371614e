"""What a source will do, in words, and what looks like a slip about it."""

from __future__ import annotations

import ipaddress
import shutil
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from monitor.config import (
    Config,
    DemoSource,
    FfmpegSource,
    FileSource,
    MicrophoneSource,
    PcmSource,
    SourceConfig,
    host_and_port,
)
from monitor.redact import without_credentials


def source_in_words(source: SourceConfig) -> str:
    """Say where its sound comes from, and what is done to it before anything else."""
    words = _origin(source)
    if source.gain_db:
        words += f", {abs(source.gain_db):g} dB {'louder' if source.gain_db > 0 else 'softer'}"
    if source.high_pass_hz is not None:
        words += f", without what is below {source.high_pass_hz:g} Hz"
    return words


def _origin(source: SourceConfig) -> str:
    match source:
        case MicrophoneSource(device=None, channel=channel):
            return f"the default microphone, channel {channel}"
        case MicrophoneSource(device=device, channel=channel):
            return f"microphone {device!r}, channel {channel}"
        case FileSource(path=path, loop=loop, realtime=realtime):
            pace = "at its own pace" if realtime else "as fast as possible"
            return f"file {path}, {pace}{', again and again' if loop else ''}"
        case DemoSource(seed=seed):
            return f"made-up sounds, seed {seed}"
        case FfmpegSource(url=url, channel=channel):
            kind = "live" if source.is_live else "a recording, once, at its own pace"
            which = "all channels mixed" if channel is None else f"channel {channel}"
            return f"{without_credentials(url)} by ffmpeg, {kind}, {which}"
        case PcmSource(rate_hz=rate_hz, encoding=encoding, channels=channels):
            count = "mono" if channels == 1 else f"{channels} channels"
            which = "" if source.channel is None else f", channel {source.channel}"
            return f"{_way(source)}, {encoding} at {rate_hz} Hz, {count}{which}"


def _way(source: PcmSource) -> str:
    if source.listen is not None:
        return f"whoever connects to {source.listen}"
    return "standard input" if source.connect is None else f"samples from {source.connect}"


def source_slips(config: Config) -> Iterator[str]:
    """Yield a warning for each slip, with its field and its remedy."""
    for name, source in config.sources.items():
        if not any(config.listens(name, event) for event in config.events):
            yield f"sources.{name}: no event listens on it; remove it, or add it to an event's sources"
        yield from _slips_of(f"sources.{name}", source)
    inputs = defaultdict(list)
    for name, source in config.sources.items():
        if isinstance(source, MicrophoneSource):
            inputs[source.device, source.channel].append(name)
    for names in inputs.values():
        if len(names) > 1:
            yield f"sources: {', '.join(names)} are the same input; give each its own device or channel"


def _slips_of(name: str, source: SourceConfig) -> Iterator[str]:
    match source:
        case FileSource():
            yield from no_recording(f"{name}.path", source.path)
            if source.loop and not source.realtime:
                yield f"{name}: loop without realtime keeps a processor busy for ever; mend one"
        case FfmpegSource():
            if "://" not in source.url:
                yield from missing(f"{name}.url", Path(source.url))
            if shutil.which("ffmpeg") is None:
                yield f"{name}.type: ffmpeg is not installed here; apt install ffmpeg"
        case PcmSource(listen=str(listen)) if not is_loopback(host_and_port(listen)[0]):
            yield f"{name}.listen: {listen} lets anyone in that network send sound; is it to be trusted?"


def is_loopback(host: str) -> bool:
    """Tell whether an address or name is this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def missing(field: str, path: Path) -> Iterator[str]:
    """Yield a warning where a file isn't there, or is a folder; a pipe or a device will do."""
    kind = _kind(path)
    if kind == stat.S_IFDIR:
        yield f"{field}: {path} is a folder; name a file in it"
    elif kind is None:
        yield f"{field}: {path} is not there, or can't be seen by this user; put it there, or mend the path"


def no_recording(field: str, path: Path) -> Iterator[str]:
    """Yield a warning where a path leads to nothing that can be read as a recording."""
    yield from missing(field, path)
    if _kind(path) not in {None, stat.S_IFREG, stat.S_IFDIR}:
        yield f"{field}: {path} is a pipe or a device; name a recording"


def _kind(path: Path) -> int | None:
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        return None
