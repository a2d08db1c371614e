"""What the tests of the pipeline share: a configuration, an outlet that collects, sources fed by hand."""

import asyncio
import itertools

from prometheus_client import CollectorRegistry
from tones import RATE_HZ, ToneEncoder

from monitor.config import Config
from monitor.metrics import Metrics
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer
from monitor.types import AudioBlock

EVENTS = {
    "low": {"prompts": "a tone of 500 Hz", "min_off_seconds": 0.5},
    "high": {"prompts": "a tone of 2000 Hz", "min_off_seconds": 0.5},
}


def config(sources, events=EVENTS, **more):
    return Config.model_validate(
        {
            "sources": sources,
            "events": events,
            "background": ["other"],
            "windows": {"window_seconds": 1.0, "hop_seconds": 0.25, "min_level_dbfs": -60},
            "smoothing": {"method": "none"},
            **more,
        }
    )


def file(path, **more):
    return {"type": "file", "path": str(path), "realtime": False, **more}


class Collected(Outlet):
    def __init__(self):
        self.events = []
        self.online = []
        self.times = {}
        self.samples = 0
        self.embedded_times = []
        self.silent = []
        self.changed = asyncio.Event()

    async def deliver(self, event):
        self.events.append(event)
        self.changed.set()

    def source_changed(self, source, online):
        self.online.append((source, online))

    def heard(self, block):
        self.samples += len(block.samples)

    def embedded(self, windows, embeddings):
        self.embedded_times += [window.end_time for window in windows]
        self.silent += (~embeddings.any(axis=1)).tolist()

    def scored(self, scores, activities):
        self.times.setdefault(scores.source, []).append(scores.end_time)
        self.changed.set()

    async def until(self, true):
        async with asyncio.timeout(20):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    def told(self):
        return [(event.source, event.name, str(event.phase), str(event.reason)) for event in self.events]


async def loaded(made, load=lambda _: ToneEncoder()):
    scorer = Scorer(load)
    scorer.use(await scorer.prepare(made))
    return scorer


async def pipeline(made, *, scorer=None, **options):
    collected = Collected()
    registry = CollectorRegistry()
    scorer = scorer or await loaded(made)
    ids = itertools.count(1)
    built = Pipeline(
        made, scorer, collected, Metrics(registry, made), new_id=lambda: f"id-{next(ids)}", **options
    )
    return built, collected, registry


class Live:
    """A source that a test feeds by hand; each opening takes the next list of steps."""

    problem = None
    overflows = 0

    def __init__(self, name, steps):
        self.name = name
        self._steps = steps

    async def __aenter__(self):
        if isinstance(self._steps, Exception):
            raise self._steps
        return self

    async def __aexit__(self, *_):
        pass

    async def __aiter__(self):
        position = 0
        for step in self._steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            if isinstance(step, Exception):
                raise step
            yield AudioBlock(self.name, position, RATE_HZ, step, 1000.0 + position / RATE_HZ)
            position += len(step)
            await asyncio.sleep(0)


def live(*openings):
    each = iter(openings)
    return lambda name, _config, _rate_hz: Live(name, next(each))
