"""What the tests of clips share: a configuration, and a run of the pipeline over a recording."""

import itertools

from prometheus_client import CollectorRegistry
from tones import ToneEncoder

from monitor.clip_outlet import clip_outlet
from monitor.config import Config
from monitor.metrics import Metrics
from monitor.outlets import Outlets
from monitor.pipeline import Outlet, Pipeline
from monitor.scoring import Scorer


def config(tmp_path, recording, *, clips=None, **more):
    return Config.model_validate(
        {
            "sources": {"hall": {"type": "file", "path": str(recording), "realtime": False}},
            "events": {"low": {"prompts": ["a tone of 500 Hz"]}},
            "background": ["silence"],
            "windows": {"window_seconds": 1.0, "hop_seconds": 0.25},
            "smoothing": {"method": "none"},
            "clips": {"directory": str(tmp_path / "clips"), "pre_seconds": 1.5, "post_seconds": 0.75}
            | (clips or {}),
            **more,
        }
    )


class Told(Outlet):
    def __init__(self):
        self.events = []

    async def deliver(self, event):
        self.events.append(event)


async def run(made):
    """Run the pipeline and return its events and its metrics."""
    scorer = Scorer(lambda _: ToneEncoder())
    scorer.use(await scorer.prepare(made))
    registry, told, ids = CollectorRegistry(), Told(), itertools.count(1)
    metrics = Metrics(registry, made)
    async with clip_outlet(made, made.clips, metrics, scorer.vetoed) as clips:
        outlets = Outlets(clips, told)
        await Pipeline(made, scorer, outlets, metrics, lossless=True, new_id=lambda: f"id{next(ids)}").run()
    scorer.close()
    return told.events, registry


def count(registry, outcome):
    return registry.get_sample_value("sound_monitor_clips_total", {"source": "hall", "outcome": outcome})
