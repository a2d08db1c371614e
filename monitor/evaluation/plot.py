"""Pictures of an evaluation: scores over spectrogram and truth, and precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitor.config import Config
from monitor.errors import MonitorError, SinkError
from monitor.evaluation.figures import Heard
from monitor.evaluation.frames import frame_edges, frame_truth, precision_recall
from monitor.replay import slugs
from monitor.sources.file import Decoder
from monitor.types import FloatArray

_RATE_HZ, _FFT, _COLUMNS = 16_000, 512, 1500
_MOST_PICTURES = 24


def drawing() -> Any:
    """Import matplotlib; raises MonitorError with the remedy."""
    try:
        import matplotlib.figure  # noqa: PLC0415
    except ImportError as error:
        raise MonitorError(
            f"--plot needs {error.name or 'matplotlib'}; pip install 'sound-monitor[eval]'"
        ) from None
    return matplotlib


def plot_evaluation(config: Config, heard: Mapping[Path, Heard], out: Path) -> list[Path]:
    """Draw precision-recall curves into `out`, and each recording with events into a file beside it.

    Returns what was written: the recordings with the most occurrences, where there are very many.
    """
    occurring = [name for name in config.events if any(each.spans(name) for each in heard.values())]
    busiest = sorted(heard, key=lambda file: -len(heard[file].occurrences))[:_MOST_PICTURES]
    drawn = {
        slug: file
        for slug, file in slugs(list(heard)).items()
        if file in busiest and heard[file].occurrences and len(heard[file].timeline.end_times)
    }
    written = []
    try:
        if occurring:
            _curves(config, heard, occurring).savefig(out, dpi=110)
            written.append(out)
        for slug, file in drawn.items():
            picture = out.with_name(f"{out.stem}_{slug}{out.suffix}")
            _timeline(config, file, heard[file]).savefig(picture, dpi=110)
            written.append(picture)
    except OSError as error:
        raise SinkError(f"--plot {str(out)!r} can't be written: {error.strerror or error}") from None
    except ValueError as error:
        raise SinkError(f"--plot {str(out)!r} can't be drawn: {error}") from None
    return written


def _curves(config: Config, heard: Mapping[Path, Heard], occurring: list[str]) -> Any:
    figure = drawing().figure.Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots()
    names = list(config.events)
    with_windows = [each for each in heard.values() if len(each.timeline.end_times)]
    colours = drawing().colormaps["turbo"](np.linspace(0.05, 0.95, len(occurring)))
    for colour, name in zip(colours, occurring, strict=True):
        truth = np.concatenate(
            [
                frame_truth(
                    frame_edges(each.timeline.end_times, config.windows.window_seconds, each.duration),
                    each.spans(name),
                )
                for each in with_windows
            ]
        )
        scores = np.concatenate([each.timeline.smooth[:, names.index(name)] for each in with_windows])
        precision, recall = precision_recall(truth, scores)
        axes.step(recall, precision, where="pre", color=colour, label=name, linewidth=1.2)
    axes.set(
        xlabel="recall of frames", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision-recall"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _timeline(config: Config, file: Path, heard: Heard) -> Any:
    names = list(config.events)
    shown = [name for name in names if heard.spans(name)]
    figure = drawing().figure.Figure(figsize=(14, 0.8 + 1.5 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)
    picture = spectrogram(file, heard.duration)
    for axes, name in zip(panels[:, 0], shown, strict=True):
        axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            cmap="gray_r",
            alpha=0.55,
            extent=(0.0, heard.duration, 0.0, 1.0),
        )
        for onset, offset in heard.spans(name):
            axes.axvspan(onset, offset, color="tab:green", alpha=0.3)
        rules = config.events[name]
        times = heard.timeline.end_times - config.windows.window_seconds / 2
        axes.plot(times, heard.timeline.smooth[:, names.index(name)], color="tab:blue", linewidth=1.2)
        axes.axhline(rules.on_threshold, color="tab:red", linewidth=0.8)
        axes.axhline(rules.off, color="tab:red", linewidth=0.8, linestyle=":")
        for alert in heard.alerts:
            if alert.event == name:
                axes.axvline(alert.started_at, color="tab:red", linewidth=1.0)
        axes.set(ylim=(0, 1), ylabel=name)
        axes.yaxis.label.set(rotation=0, horizontalalignment="right", fontsize=8)
    panels[0, 0].set_title(
        f"{file.name}: green sounded, blue smoothed score at the window's middle, "
        "red on (and dotted off) threshold and alerts",
        fontsize=9,
    )
    panels[-1, 0].set_xlabel("seconds, over the spectrogram of 0 to 8 kHz")
    return figure


def spectrogram(file: Path, duration: float) -> FloatArray:
    """Return level in dB, shape (frequencies, columns), 0..8 kHz and the whole file; little memory."""
    decoder = Decoder(file, _RATE_HZ, max(duration / _COLUMNS, 2 * _FFT / _RATE_HZ))
    window = np.hanning(_FFT).astype(np.float32)
    columns, rest, ended = [], np.zeros(0, dtype=np.float32), False
    try:
        while not ended:
            samples, ended = decoder.read()
            rest = np.concatenate((rest, samples))
            whole = len(rest) // _FFT * _FFT
            if whole:
                frames = rest[:whole].reshape(-1, _FFT) * window
                columns.append((np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0))
                rest = rest[whole:]
    finally:
        decoder.close()
    if not columns:
        return np.zeros((_FFT // 2 + 1, 1), dtype=np.float32)
    level = 10 * np.log10(np.stack(columns, axis=1) + 1e-9)
    picture: FloatArray = np.maximum(level, level.max() - 80.0).astype(np.float32)
    return picture
