"""The benchmark's figures, as a page of text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from monitor.benchmark.measure import BASELINE, Report


def text(report: Report) -> str:
    """Lay out everything that was measured."""
    return "\n".join(_lines(report))


def as_json(report: Report) -> str:
    """Give everything that was measured, and the rates that follow from it."""
    rates = {
        way: {
            sources: {events: report.windows_per_second(way, sources, events) for events in by_events}
            for sources, by_events in times.items()
        }
        for way, times in report.batch_milliseconds.items()
    }
    return json.dumps(asdict(report) | {"windows_per_second": rates}, indent=2)


def _lines(report: Report) -> Iterator[str]:
    options = report.options
    machine = ", ".join(report.machine.values())
    yield f"{machine}, threads {options.threads}, windows of {options.window_seconds:g} s"
    weights = options.model or "random, of LAION's full-size architecture (the speed doesn't depend on them)"
    yield f"weights: {weights}; medians of {options.repeats} interleaved turns"
    yield ""
    real_time = f"sources at {options.hop_seconds:g} s hop"
    yield _row(["way", "sources", "events", "ms a window", "windows/s", "x pipeline", real_time])
    for way, times in report.batch_milliseconds.items():
        for sources, by_events in times.items():
            for events, milliseconds in by_events.items():
                rate = report.windows_per_second(way, sources, events)
                ratio = rate / report.windows_per_second(BASELINE, sources, events)
                kept_up = rate * options.hop_seconds
                figures = [_figure(milliseconds / sources), f"{rate:.1f}", f"{ratio:.1f}", f"{kept_up:.1f}"]
                yield _row([way, f"{sources}", f"{events}", *figures])
    yield ""
    random = "" if options.model else " (random weights)"
    for way, parts in report.parts_milliseconds.items():
        split = ", ".join(f"{part} {_figure(milliseconds)} ms" for part, milliseconds in parts.items())
        sources = report.parts_sources[way]
        of = f"a window of {sources} sources" if sources > 1 else "a window of one source"
        yield f"{way}: {of}: {split}; {report.growth[way]:+.1%} from 5 to 500 events"
        if report.drift[way]:
            yield f"{way}: scores within {report.drift[way]:.1g} of float32's{random}"
    yield ""
    for way, share in report.share_of_ceiling.items():
        ceiling = report.ceiling_gflops[way]
        yield f"{way}: {share:.0%} of the {ceiling:.0f} GFLOP/s of a large matrix product"
    for way, by_sources in report.latency.items():
        for sources, latency in by_sources.items():
            late = f"p50 {latency.median:.1f} ms, p99 {latency.percentile_99:.1f} ms"
            count = f"{latency.windows} windows, {latency.dropped} dropped"
            yield f"{way}: {sources} sources: from a window's end to its decision {late} ({count})"
    memory = ", ".join(f"{way} {megabytes:.0f} MB" for way, megabytes in report.resident_megabytes.items())
    yield f"resident memory: {memory}"
    if report.gpu_megabytes:
        yield f"GPU memory, all ways together: {report.gpu_megabytes:.0f} MB"


def _figure(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds >= 1.0 else f"{milliseconds:.2g}"


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<30}" + "".join(f"{cell:>{max(12, len(cell) + 2)}}" for cell in cells[1:])
