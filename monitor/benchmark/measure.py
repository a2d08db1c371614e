"""Each way of scoring, interleaved in one run, repeated, medians.

The baseline is what one would write oneself: transformers' zero-shot pipeline, called for every window.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from monitor.benchmark.capacity import Tell
from monitor.benchmark.latency import Latency, measure_latency
from monitor.benchmark.parts import Sound, Stopwatch, Way, config_of, labels_of
from monitor.benchmark.weights import save_random_clap
from monitor.classify import PIPELINE_TEMPLATE
from monitor.config import EncoderConfig
from monitor.encoders.clap import ClapEncoder
from monitor.encoders.compact import CompactEncoder
from monitor.encoders.compact_net import STEP
from monitor.heads import prompts_of
from monitor.types import Window

BASELINE = "pipeline"
EXACT = "clap float32"
COMPACT = "compact"
PARTS_AT_ONCE = 64
"""Windows whose parts are timed together, at most; that many fill a GPU."""
GROWTH = (5, 500)
"""Numbers of events between which a window's cost should hardly grow."""
LATENCY_SOURCES = (1, 64, 512)

Batches = dict[str, dict[int, dict[int, float]]]
"""By way, number of sources, and number of events."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    model: str | None = None
    """Hub name or folder of a CLAP checkpoint; random weights of the full size when absent."""
    device: str = "auto"
    threads: int = 1
    fast: str | None = "bfloat16"
    """The half-precision type to measure beside float32."""
    openvino: bool = importlib.util.find_spec("openvino") is not None
    """Measure it too, where it is installed."""
    compact: bool = True
    events: tuple[int, ...] = (5, 20, 100)
    sources: tuple[int, ...] = (1, 4, 16, 64)
    window_seconds: float = 2.0
    hop_seconds: float = 0.5
    repeats: int = 7
    """Below 50."""
    latency_seconds: float = 8.0
    """To measure latency for, with 1, 64 and 512 sources, of those that are asked for."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    options: Options
    machine: dict[str, str]
    batch_milliseconds: Batches
    """Median time to score one window of every source."""
    parts_milliseconds: dict[str, dict[str, float]]
    """Way, part: median time for one window."""
    parts_sources: dict[str, int]
    """Way: number of sources scored together for that."""
    ceiling_gflops: dict[str, float]
    """CLAP way: arithmetic per second of a large matrix product of its type, in 1e9."""
    share_of_ceiling: dict[str, float]
    """CLAP way: arithmetic per second of its audio tower, by that."""
    growth: dict[str, float]
    """Way: by how much a window of one source costs more with 500 events than with 5, 0.01 being 1 %."""
    drift: dict[str, float]
    """Way: largest difference of a score from its exact kind's, over all windows."""
    latency: dict[str, dict[int, Latency]]
    """Way, number of sources: from a window's end to its decision."""
    resident_megabytes: dict[str, float]
    """Way: memory of a process that has loaded it, embedded its texts, and scored."""
    gpu_megabytes: float
    """Most that the GPU's allocator held, for all ways together."""

    def windows_per_second(self, way: str, sources: int, events: int) -> float:
        """Return the rate of a way; the pipeline takes window after window."""
        times = self.batch_milliseconds[way]
        at_once = sources if sources in times else min(times)
        return 1000.0 * at_once / times[at_once][events]


def bench(options: Options, tell: Tell = lambda _: None) -> Report:
    """Measure; `tell` hears what goes on. Raises EncoderError where a model can't be loaded."""
    tell("preparing the models")
    with _checkpoint(options) as model:
        configs = _encoders(options, model)
        resident = {name: _resident_megabytes(config) for name, config in configs.items()}
        wanted = [config_of(events) for events in sorted({*options.events, *GROWTH})]
        ways = {name: Way.load(config, wanted) for name, config in configs.items()}
        device = ways[EXACT].encoder.device
        pipeline = transformers.pipeline(
            "zero-shot-audio-classification", model=model, device=device, dtype=torch.float32
        )
        torch.set_num_threads(options.threads)
        watch, drift = _measure(options, ways, pipeline, tell)
        claps = _claps(ways)
        gigaflop = _gigaflop(claps[EXACT], pipeline.model)
        del pipeline
        latency = _latency(options, configs, device, tell)
    parts = {name: _parts(options, watch, name, _at_once(options, way)) for name, way in ways.items()}
    product = 2e-9 * _gemm_size(device) ** 3
    ceilings = {name: 1000.0 * product / watch.median(name, "ceiling") for name in claps}
    return Report(
        options=options,
        machine=_machine(device),
        batch_milliseconds=_batches(options, watch, list(ways)),
        parts_milliseconds=parts,
        parts_sources={name: _at_once(options, way) for name, way in ways.items()},
        ceiling_gflops=ceilings,
        share_of_ceiling={
            name: gigaflop / parts[name]["audio tower"] * 1000.0 / ceilings[name] for name in claps
        },
        growth={name: _growth(options, watch, name) for name in ways},
        drift=drift,
        latency=latency,
        resident_megabytes=resident,
        gpu_megabytes=torch.cuda.max_memory_reserved() / 1e6 if device.startswith("cuda") else 0.0,
    )


@contextlib.contextmanager
def _checkpoint(options: Options) -> Iterator[str]:
    if options.model is not None:
        yield options.model
        return
    with tempfile.TemporaryDirectory(prefix="sound-monitor-") as folder:
        texts = prompts_of(config_of(max(options.events)))
        save_random_clap(Path(folder), [PIPELINE_TEMPLATE, *texts])
        yield folder


def _encoders(options: Options, model: str) -> dict[str, EncoderConfig]:
    most = max(64, *options.sources)
    clap = {"model": model, "device": options.device, "threads": options.threads, "max_batch": most}
    compact = {"model": "compact", "threads": options.threads}
    wanted: dict[str, dict[str, Any]] = {EXACT: clap}
    if options.fast:
        wanted[f"clap {options.fast}"] = clap | {"dtype": options.fast}
    openvino = {"runtime": "openvino", "device": "cpu"}
    if options.openvino:
        wanted[f"{EXACT}, openvino"] = clap | openvino
        if options.fast:
            wanted[f"clap {options.fast}, openvino"] = clap | openvino | {"dtype": options.fast}
    if options.compact:
        wanted[COMPACT] = compact
    if options.compact and options.openvino and options.fast:
        wanted[f"{COMPACT} {options.fast}, openvino"] = compact | openvino | {"dtype": options.fast}
    return {name: EncoderConfig.model_validate(each) for name, each in wanted.items()}


def _exact_of(way: str) -> str:
    return COMPACT if way.startswith(COMPACT) else EXACT


def _latency(
    options: Options, configs: Mapping[str, EncoderConfig], device: str, tell: Tell
) -> dict[str, dict[int, Latency]]:
    """Of what keeps up with many sources: the built-in encoder, and CLAP on a GPU."""
    counts = [count for count in options.sources if count in LATENCY_SOURCES]
    sizes = {"window_seconds": options.window_seconds, "hop_seconds": options.hop_seconds}
    config = config_of(min(options.events), sizes)
    result = {}
    for name, encoder in configs.items():
        if counts and options.latency_seconds and (name == COMPACT or device.startswith("cuda")):
            tell(f"latency, {name}")
            result[name] = dict(measure_latency(config, encoder, counts, options.latency_seconds))
    return result


def _resident_megabytes(config: EncoderConfig) -> float:
    probe = [sys.executable, "-m", "monitor.benchmark.memory", config.model_dump_json()]
    return float(subprocess.run(probe, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _claps(ways: Mapping[str, Way]) -> dict[str, ClapEncoder]:
    return {name: way.encoder for name, way in ways.items() if isinstance(way.encoder, ClapEncoder)}


def _measure(
    options: Options, ways: Mapping[str, Way], pipeline: Any, tell: Tell
) -> tuple[Stopwatch, dict[str, float]]:
    """Time everything once a turn, so that a busy moment of the machine hits all alike; compare scores."""
    sound = Sound(options.window_seconds, options.hop_seconds, ways[EXACT].encoder.rate_hz)
    claps = _claps(ways)
    drift = dict.fromkeys(ways, 0.0)
    watch = Stopwatch()
    for turn in range(options.repeats + 1):
        tell(f"turn {turn} of {options.repeats}")
        if turn == 1:
            watch = Stopwatch()  # the turn before only warmed up
        [window] = sound.windows(1, turn)
        for events in options.events:
            call = partial(pipeline, window.samples, candidate_labels=labels_of(events))
            watch.time(BASELINE, 1, events, call=call)
        for sources in options.sources:
            windows = sound.windows(sources, turn)
            scores = {name: way.time(name, windows, watch) for name, way in ways.items()}
            for name in ways:
                difference = np.abs(scores[name] - scores[_exact_of(name)])
                drift[name] = max(drift[name], float(difference.max()))
        for name, clap in claps.items():
            _time_parts(name, clap, sound.windows(_at_once(options, ways[name]), turn), watch)
        for name, way in ways.items():
            if isinstance(way.encoder, CompactEncoder):
                _time_compact_parts(name, way.encoder, window, options.hop_seconds, watch)
    return watch, drift


def _at_once(options: Options, way: Way) -> int:
    """Return how many windows' time is split into parts: a GPU is nothing like busy with one."""
    return max(options.sources) if way.encoder.device.startswith("cuda") else min(options.sources)


def _gemm_size(device: str) -> int:
    """Return the side of matrices large enough to keep the device busy."""
    return 8192 if device.startswith("cuda") else 2048


@torch.inference_mode()
def _time_parts(name: str, clap: ClapEncoder, windows: Sequence[Window], watch: Stopwatch) -> None:
    length = round(clap.max_window_seconds * clap.rate_hz)
    row = torch.from_numpy(np.resize(windows[0].samples, length)).to(clap.device)
    # One row again and again: the time doesn't depend on what is in it.
    rows = row.repeat(min(len(windows), PARTS_AT_ONCE), 1)
    log_mel = watch.time(name, "log-mel", call=partial(clap.log_mel, rows))
    watch.time(name, "audio tower", call=partial(clap.tower, log_mel))
    # Of random numbers: zeros multiply faster.
    size = _gemm_size(clap.device)
    square = torch.randn(size, size).to(clap.device, clap.dtype)
    watch.time(name, "ceiling", call=partial(torch.matmul, square, square))


def _time_compact_parts(
    name: str, encoder: CompactEncoder, window: Window, hop_seconds: float, watch: Stopwatch
) -> None:
    """Time the new part of a window."""
    fft = encoder.log_mel.settings
    frames = max(1, round(hop_seconds * encoder.rate_hz / fft.hop / STEP)) * STEP
    new = window.samples[None, : (frames - 1) * fft.hop + fft.n_fft]
    log_mel = watch.time(name, "log-mel", call=partial(encoder.log_mel.frames, new))
    state = encoder.net.start()
    watch.time(name, "audio tower", call=lambda: encoder.net.frames(log_mel, state))


def _growth(options: Options, watch: Stopwatch, name: str) -> float:
    """Compare the smallest batch, of which scoring is the largest share."""
    sources = min(options.sources)
    few, many = (watch.median(name, sources) + watch.median(name, sources, events) for events in GROWTH)
    return many / few - 1.0


def _batches(
    options: Options, watch: Stopwatch, ways: Sequence[str]
) -> dict[str, dict[int, dict[int, float]]]:
    times = {BASELINE: {1: {events: watch.median(BASELINE, 1, events) for events in options.events}}}
    for way in ways:
        times[way] = {}
        for sources in options.sources:
            embedding = watch.median(way, sources)
            scoring = {events: watch.median(way, sources, events) for events in options.events}
            times[way][sources] = {events: embedding + scoring[events] for events in options.events}
    return times


def _parts(options: Options, watch: Stopwatch, name: str, sources: int) -> dict[str, float]:
    """Split the time of a window, scored for the most events, of so many sources."""
    at_once = min(sources, PARTS_AT_ONCE)
    parts = {part: watch.median(name, part) / at_once for part in ("log-mel", "audio tower")}
    rest = watch.median(name, sources) / sources - sum(parts.values())
    scoring = watch.median(name, sources, max(options.events)) / sources
    return parts | {"scoring": scoring, "everything else": max(0.0, rest)}


@torch.inference_mode()
def _gigaflop(clap: ClapEncoder, model: Any) -> float:
    """Count the arithmetic that transformers' own audio tower does for a window, in 1e9."""
    silence = torch.zeros(1, round(clap.max_window_seconds * clap.rate_hz), device=clap.device)
    log_mel = clap.log_mel(silence)
    with FlopCounterMode(display=False) as counter:
        model.get_audio_features(input_features=log_mel[:, None])
    return 1e-9 * float(counter.get_total_flops())


def _machine(device: str) -> dict[str, str]:
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
