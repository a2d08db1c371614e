"""Pictures of an evaluation: scores over spectrogram and truth, precision-recall curves, clips' confusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitor.config import Config
from monitor.errors import MonitorError, SinkError, in_words
from monitor.evaluation.alerts import match
from monitor.evaluation.clips import ClipFigures
from monitor.evaluation.figures import Heard
from monitor.evaluation.frames import average_precision, frame_edges, frame_truth, precision_recall
from monitor.replay import slugs
from monitor.sources.file import Decoder
from monitor.types import FloatArray

_RATE_HZ, _FFT, _COLUMNS = 16_000, 512, 1500
_MOST_PICTURES = 24
_MOST_COUNTED = 30
"""Events beside each other up to which the counts of a confusion can be read."""
_RIGHT, _FALSE, _SOUNDED, _SCORE = "darkgreen", "tab:red", "tab:green", "tab:blue"


def drawing() -> Any:
    """Import matplotlib; raises MonitorError with the remedy."""
    try:
        import matplotlib.figure  # noqa: PLC0415
    except ImportError as error:
        raise MonitorError(
            f"--plot needs {error.name or 'matplotlib'}; pip install 'sound-monitor[eval]'"
        ) from None
    return matplotlib


def check_out(out: Path) -> None:
    """See that a picture can be drawn and put there; raises MonitorError with the remedy."""
    known = drawing().figure.Figure().canvas.get_supported_filetypes()
    if out.suffix.removeprefix(".").lower() not in known:
        raise SinkError(f"--plot {str(out)!r} can't be drawn: give a name that ends in .png, .svg or .pdf")
    if not out.parent.is_dir():
        raise SinkError(f"--plot {str(out)!r} can't be written: {str(out.parent)!r} is no folder; make it")


def plot_evaluation(config: Config, heard: Mapping[Path, Heard], out: Path) -> list[Path]:
    """Draw precision-recall curves into `out`, and each recording with marks into a file beside it.

    Marks are occurrences and alerts. Returns what was written: the most marked, where there are very many.
    """
    occurring = [name for name in config.events if any(each.spans(name) for each in heard.values())]
    marks = {file: len(each.occurrences) + len(each.alerts) for file, each in heard.items()}
    busiest = sorted(heard, key=lambda file: -marks[file])[:_MOST_PICTURES]
    written = []
    if occurring:
        written.append(_saved(_curves(config, heard, occurring), out))
    for slug, file in slugs(list(heard)).items():
        if file in busiest and marks[file] and len(heard[file].timeline.end_times):
            picture = out.with_name(f"{out.stem}_{slug}{out.suffix}")
            written.append(_saved(_timeline(config, file, heard[file]), picture))
    return written


def plot_confusion(figures: ClipFigures, out: Path) -> list[Path]:
    """Draw what clips were taken for into `out`, a row per event that occurs; returns what was written."""
    counts = figures.confusion
    rows = np.flatnonzero(counts.any(axis=1))
    columns = np.flatnonzero(counts.any(axis=1) | counts.any(axis=0))
    shares = counts[np.ix_(rows, columns)] / counts[rows].sum(axis=1, keepdims=True)
    size = 2.5 + 0.3 * len(columns), 2.0 + 0.3 * len(rows)
    figure = drawing().figure.Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(columns)), [figures.events[column] for column in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [figures.events[row] for row in rows])
    axes.tick_params(labelsize=8)
    axes.set(xlabel="taken for", ylabel="sounded")
    axes.set_title(f"{figures.clips} clips, {figures.accuracy:.1%} right", fontsize=10)
    if len(columns) <= _MOST_COUNTED:
        for row, column in zip(*np.nonzero(shares), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(counts[rows[row], columns[column]])
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="share of the row's clips", shrink=0.8)
    return [_saved(figure, out)]


def _saved(figure: Any, out: Path) -> Path:
    try:
        figure.savefig(out, dpi=110)
    except OSError as error:
        raise SinkError(f"--plot {str(out)!r} can't be written: {in_words(error)}") from None
    return out


def _curves(config: Config, heard: Mapping[Path, Heard], occurring: list[str]) -> Any:
    figure = drawing().figure.Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    names = list(config.events)
    with_windows = [each for each in heard.values() if len(each.timeline.end_times)]
    curves = []
    for name in occurring if with_windows else ():
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
        # Where recall stands still precision only falls: spikes that hide the other curves.
        gains = np.diff(recall, prepend=0.0) > 0.0
        curves.append((average_precision(truth, scores) or 0.0, name, precision[gains], recall[gains]))
    styles = [(f"C{colour}", line) for line in ("-", "--", ":", "-.") for colour in range(10)]
    for number, (area, name, precision, recall) in enumerate(sorted(curves, key=lambda curve: -curve[0])):
        colour, line = styles[number % len(styles)]
        axes.step(
            np.concatenate(([0.0], recall)),
            np.concatenate((precision[:1], precision)),
            where="pre",
            color=colour,
            linestyle=line,
            label=f"{area:.2f} {name}",
            linewidth=1.4,
        )
    axes.set(xlabel="recall of frames", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("precision and recall at every threshold", fontsize=10)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(
            title="average precision",
            title_fontsize=8,
            fontsize=8,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            ncols=1 + len(curves) // 40,
        )
    return figure


def _timeline(config: Config, file: Path, heard: Heard) -> Any:
    names = list(config.events)
    told = {alert.event for alert in heard.alerts}
    shown = [name for name in names if name in told or heard.spans(name)]
    figure = drawing().figure.Figure(figsize=(14, 1.3 + 1.1 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    picture = spectrogram(file, heard.duration)
    faintest, loudest = np.percentile(picture, (40, 99.8))
    for axes, name in zip(panels, shown, strict=True):
        axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            cmap="gray_r",
            vmin=faintest,
            vmax=max(loudest, faintest + 1.0),
            alpha=0.5,
            extent=(0.0, heard.duration, 0.0, 1.0),
        )
        for onset, offset in heard.spans(name):
            axes.axvspan(onset, offset, color=_SOUNDED, alpha=0.35, linewidth=0)
        rules = config.events[name]
        times = heard.timeline.end_times - config.windows.window_seconds / 2
        axes.plot(times, heard.timeline.smooth[:, names.index(name)], color=_SCORE, linewidth=1.4)
        axes.axhline(rules.on_threshold, color="black", linewidth=0.8, linestyle="--")
        axes.axhline(rules.off, color="black", linewidth=0.8, linestyle=":")
        alerts = [alert for alert in heard.alerts if alert.event == name]
        matched = match([alert.started_at for alert in alerts], heard.spans(name))
        for alert, occurrence in zip(alerts, matched, strict=True):
            end = heard.duration if alert.ended_at is None else alert.ended_at
            colour = _FALSE if occurrence is None else _RIGHT
            axes.axvspan(alert.started_at, end, ymin=0.9, color=colour, linewidth=1.0)
        axes.set(xlim=(0.0, heard.duration), ylim=(0, 1.1), yticks=(0.0, 0.5, 1.0), ylabel=name)
        axes.yaxis.label.set(rotation=0, horizontalalignment="right", verticalalignment="center", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.suptitle(file.name, fontsize=10)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    panels[-1].set_xlabel("seconds; behind the scores the spectrogram, 0 to 8 kHz", fontsize=9)
    return figure


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    return [
        Patch(color=_SOUNDED, alpha=0.35, label="sounded"),
        Line2D([], [], color=_SCORE, label="smoothed score, at the window's middle"),
        Line2D([], [], color="black", linewidth=0.8, linestyle="--", label="on-threshold"),
        Line2D([], [], color="black", linewidth=0.8, linestyle=":", label="off-threshold"),
        Patch(color=_RIGHT, label="right alert"),
        Patch(color=_FALSE, label="false alert"),
    ]


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
