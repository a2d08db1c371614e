"""Days of sound in minutes, and some minutes as they come: nothing may grow.

    python tests/soak.py --hours 24 --live-minutes 3 --report soak.json

First made-up scenes go through the lossless path, as fast as they are scored, until `--hours` of sound have
been heard by all sources together; then the same through the live path at real time. Sound, windows, the
built-in encoder, events, outbox, a real broker and metrics are those of the daemon. Exit status: 0 when
memory, handles, series and the outbox's file stay within the limits below, else 1.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from chaos_scene import USERS, compose, configuration
from mosquitto import Mosquitto
from prometheus_client import CollectorRegistry

from monitor.config import Config
from monitor.metrics import Metrics
from monitor.outlets import MqttOutlet, Outlets, mqtt_outlet
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer
from monitor.types import Event, Phase

SOURCES = 32
"""Many, because a batch takes one window of each: waiting for threads is shared by all of them."""
_SCENES = 4
_WARM_UP = 0.15
"""Share of a phase after which its figures count."""
_MOST_MIB_PER_HOUR = 1.0
_MOST_HANDLES_GAINED = 2
_MOST_OUTBOX_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Sample:
    """What the process takes after so much sound."""

    heard_hours: float
    """Of all sources together."""
    wall_hours: float
    rss_mib: float
    handles: int
    series: int
    outbox_bytes: int
    waiting: int


class Tally(Outlet):
    """Counts starts and ends."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.starts = self.ends = self.unpaired = 0

    async def deliver(self, event: Event) -> None:
        if event.phase is Phase.START:
            self.starts += 1
            self.open.add(event.id)
        else:
            self.ends += 1
            self.unpaired += event.id not in self.open
            self.open.discard(event.id)


class Passage:
    """One way through the pipeline, measured."""

    def __init__(
        self, name: str, config: Config, folder: Path, outlet: MqttOutlet, *, lossless: bool
    ) -> None:
        self.name = name
        self.samples: list[Sample] = []
        self.tally = Tally()
        self._folder = folder
        self._outlet = outlet
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry, config)
        self._config = config
        self._lossless = lossless
        self._process = psutil.Process()

    async def run(self, scorer: Scorer, hours: float, show) -> None:
        """Run until so much sound was heard."""
        scorer.use(await scorer.prepare(self._config))
        outlets = Outlets(self.tally, self._outlet)
        pipeline = Pipeline(self._config, scorer, outlets, self._metrics, lossless=self._lossless)
        began = time.monotonic()
        running = asyncio.create_task(pipeline.run())
        every = hours / 200.0
        while not running.done() and (heard := self._heard_hours()) < hours:
            if not self.samples or heard >= self.samples[-1].heard_hours + every:
                self.samples.append(self._sample(heard, began))
            show(f"{self.name}: {heard:.2f} of {hours:g} hours heard, {self.tally.starts} occurrences")
            await asyncio.sleep(0.5)
        self.samples.append(self._sample(self._heard_hours(), began))
        pipeline.stop()
        await running
        while self._outlet.backlog.pending:  # noqa: ASYNC110 - a harness may poll
            await asyncio.sleep(0.1)

    def _heard_hours(self) -> float:
        total = sum(
            self._registry.get_sample_value("sound_monitor_windows_scored_total", {"source": source}) or 0.0
            for source in self._config.sources
        )
        return total * self._config.windows.hop_seconds / 3600.0

    def _sample(self, heard_hours: float, began: float) -> Sample:
        return Sample(
            heard_hours=heard_hours,
            wall_hours=(time.monotonic() - began) / 3600.0,
            rss_mib=self._process.memory_info().rss / 2**20,
            handles=self._process.num_fds(),
            series=sum(len(family.samples) for family in self._registry.collect()),
            outbox_bytes=sum(path.stat().st_size for path in self._folder.glob("outbox.db*")),
            waiting=self._outlet.backlog.pending,
        )

    def dropped(self) -> int:
        """Windows that were never scored."""
        return int(
            sum(
                self._registry.get_sample_value(
                    "sound_monitor_windows_dropped_total", {"source": source, "reason": "superseded"}
                )
                or 0.0
                for source in self._config.sources
            )
        )

    def figures(self) -> dict:
        """Return what is told of it."""
        last = self.samples[-1]
        steady = [each for each in self.samples if each.heard_hours >= _WARM_UP * last.heard_hours]
        heard = np.array([each.heard_hours for each in steady])
        wall = np.array([each.wall_hours for each in steady])
        rss = np.array([each.rss_mib for each in steady])
        return {
            "phase": self.name,
            "heard_hours": round(last.heard_hours, 2),
            "wall_minutes": round(60.0 * last.wall_hours, 1),
            "times_real_time": round(last.heard_hours / last.wall_hours, 1),
            "windows_dropped": self.dropped(),
            "starts": self.tally.starts,
            "ends": self.tally.ends,
            "unpaired": self.tally.unpaired + len(self.tally.open),
            "rss_mib": round(float(rss[-1]), 1),
            "mib_per_hour_of_sound": round(float(np.polyfit(heard, rss, 1)[0]), 3),
            "mib_per_hour": round(float(np.polyfit(wall, rss, 1)[0]), 3),
            "mib_gained": round(float(np.median(rss[-len(rss) // 4 :]) - np.median(rss[: len(rss) // 4])), 2),
            "handles": last.handles,
            "handles_gained": last.handles - steady[0].handles,
            "series": last.series,
            "series_gained": last.series - steady[0].series,
            "most_outbox_bytes": max(each.outbox_bytes for each in self.samples),
            "most_waiting": max(each.waiting for each in self.samples),
        }


def violations(figures: dict) -> Iterator[str]:
    """Tell what grows or is lost."""
    name = figures["phase"]
    if figures["phase"] == "lossless" and figures["mib_per_hour_of_sound"] > _MOST_MIB_PER_HOUR:
        yield f"{name}: memory grows by {figures['mib_per_hour_of_sound']} MiB per hour of sound"
    if figures["mib_gained"] > 4.0:
        yield f"{name}: {figures['mib_gained']} MiB gained after the warm-up"
    if figures["handles_gained"] > _MOST_HANDLES_GAINED:
        yield f"{name}: {figures['handles_gained']} handles gained"
    if figures["series_gained"]:
        yield f"{name}: {figures['series_gained']} series gained"
    if figures["most_outbox_bytes"] > _MOST_OUTBOX_BYTES:
        yield f"{name}: the outbox took {figures['most_outbox_bytes']} bytes"
    if figures["unpaired"]:
        yield f"{name}: {figures['unpaired']} starts or ends without the other"
    if figures["phase"] == "lossless" and figures["windows_dropped"]:
        yield f"{name}: {figures['windows_dropped']} windows dropped"


async def soak(hours: float, live_minutes: float, seed: int, folder: Path) -> dict:
    """Run both phases and return the report."""
    scenes = [compose(folder / f"{index}.wav", seed + index, 90.0 + 7.0 * index) for index in range(_SCENES)]
    (folder / "broker").mkdir()
    shown = 0.0

    def show(text: str) -> None:
        nonlocal shown
        if time.monotonic() - shown > (1.0 if sys.stderr.isatty() else 60.0):
            shown = time.monotonic()
            sys.stderr.write(f"\r{text}\033[K" if sys.stderr.isatty() else f"{text}\n")
            sys.stderr.flush()

    phases = []
    with Mosquitto(folder / "broker", users=USERS) as broker:
        raw = configuration(folder, broker.port, microphone=False)
        for key in ("history", "clips", "log", "http"):
            del raw[key]
        raw["windows"] = {"window_seconds": 2, "hop_seconds": 1}
        scorer = Scorer()
        for name, lossless, amount in (
            ("lossless", True, hours),
            ("live", False, SOURCES * live_minutes / 60.0),
        ):
            raw["sources"] = {
                f"room{index}": {
                    "type": "file",
                    "path": str(scenes[index % _SCENES]),
                    "loop": True,
                    "realtime": not lossless,
                }
                for index in range(SOURCES)
            }
            config = Config.model_validate(raw)
            assert config.mqtt is not None
            async with mqtt_outlet(config, config.mqtt, folder) as outlet:
                phase = Passage(name, config, folder, outlet, lossless=lossless)
                await phase.run(scorer, amount, show)
                phases.append(phase)
        scorer.close()
    figures = [phase.figures() for phase in phases]
    return {
        "figures": figures,
        "violations": [text for each in figures for text in violations(each)],
        "samples": {phase.name: [asdict(sample) for sample in phase.samples] for phase in phases},
    }


def table(report: dict) -> str:
    """Render a report as Markdown."""
    first, *others = report["figures"]
    lines = [f"| {' | '.join(['', first['phase'], *(each['phase'] for each in others)])} |"]
    lines.append("|---|" + "---|" * len(report["figures"]))
    for key in list(first)[1:]:
        values = " | ".join(str(each[key]) for each in report["figures"])
        lines.append(f"| {key.replace('_', ' ')} | {values} |")
    lines += [f"VIOLATION: {text}" for text in report["violations"]] or ["no violation"]
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Replay days of sound and check that nothing grows.",
        epilog="example: python tests/soak.py --hours 24 --live-minutes 3 --report soak.json",
    )
    parser.add_argument("--hours", type=float, default=24.0, help="of sound, all sources together")
    parser.add_argument("--live-minutes", type=float, default=3.0, help="at real time, afterwards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", dir=memory)))
        report = asyncio.run(soak(arguments.hours, arguments.live_minutes, arguments.seed, folder))
    if arguments.report:
        arguments.report.write_text(json.dumps(report, indent=1) + "\n")
    sys.stderr.write("\n")
    print(table(report))  # noqa: T201
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
