"""A made-up house, as the daemon would describe it: for the tests of the page and of `/status.json`."""

from dataclasses import replace

from monitor.config import Config
from monitor.rules import event_in_words, stored_in_words, windows_in_words
from monitor.status import (
    DropReason,
    EncoderStatus,
    EventRule,
    OutboxStatus,
    ReloadStatus,
    SourceState,
    SourceStatus,
    Status,
)
from monitor.types import Activity, Event, Phase, Reason

CONFIG = Config.model_validate(
    {
        "sources": {"kitchen": {}, "front_door": {}, "workshop": {}, "garage": {}},
        "events": {
            "dog_bark": {"prompts": "a dog barking", "sources": ["kitchen", "front_door"]},
            "smoke_alarm": {
                "prompts": "a smoke alarm beeping",
                "on_threshold": 0.6,
                "min_on_seconds": 1.0,
                "min_off_seconds": 5.0,
            },
            "glass_breaking": {
                "prompts": "glass breaking",
                "on_threshold": 0.7,
                "cooldown_seconds": 30.0,
                "sources": ["kitchen", "front_door"],
            },
        },
    }
)
NOW = 1_763_800_000.0


def event(number: int, source: str, name: str, ago: float, lasted: float | None, peak: float) -> Event:
    """An occurrence that began `ago` seconds before NOW; None: it still lasts."""
    return Event(
        id=f"{number:04x}",
        source=source,
        name=name,
        phase=Phase.START if lasted is None else Phase.END,
        started_at=NOW - ago,
        ended_at=None if lasted is None else NOW - ago + lasted,
        peak_score=peak,
        threshold=0.5,
        reason=Reason.THRESHOLD,
    )


HOUSE = Status(
    at=NOW,
    version="0.1.0",
    started_at=NOW - 302_400.0,
    encoder=EncoderStatus("compact", "cpu", "float32"),
    windows=windows_in_words(CONFIG),
    sources=(
        SourceStatus(
            "kitchen",
            SourceState.ONLINE,
            None,
            True,
            NOW - 0.3,
            NOW - 0.4,
            -31.4,
            2,
            1,
            604_713,
            {DropReason.SUPERSEDED: 12},
        ),
        SourceStatus(
            "front_door", SourceState.ONLINE, None, True, NOW - 0.2, NOW - 0.3, -52.8, 0, 0, 604_798
        ),
        SourceStatus(
            "workshop",
            SourceState.PROBLEM,
            "exact zeros for 42 s: the microphone is muted or broken; check its switch",
            True,
            NOW - 0.1,
            NOW - 42.0,
            -120.0,
            0,
            3,
            41_220,
        ),
        SourceStatus(
            "garage",
            SourceState.OFFLINE,
            "no input device matches 'USB PnP'; see `sound-monitor devices`",
            True,
            NOW - 7_300.0,
            NOW - 7_300.0,
            None,
            0,
            18,
            120_004,
        ),
    ),
    events=tuple(
        EventRule(name, rules.on_threshold, rules.off, event_in_words(CONFIG, name))
        for name, rules in CONFIG.events.items()
    ),
    activities=(
        Activity("kitchen", "dog_bark", 0.06, 0.04, False, None),
        Activity("kitchen", "smoke_alarm", 0.97, 0.91, True, NOW - 12.0),
        Activity("kitchen", "glass_breaking", 0.01, 0.02, False, None),
        Activity("front_door", "dog_bark", 0.58, 0.41, False, None),
        Activity("front_door", "smoke_alarm", 0.03, 0.05, False, None),
        Activity("front_door", "glass_breaking", 0.0, 0.0, False, None),
        Activity("workshop", "smoke_alarm", 0.0, 0.0, False, None),
        Activity("garage", "smoke_alarm", 0.0, 0.0, False, None),
    ),
    recent=(
        event(7, "kitchen", "smoke_alarm", 12.0, None, 0.93),
        event(6, "front_door", "dog_bark", 340.0, 14.2, 0.88),
        event(5, "front_door", "dog_bark", 1_850.0, 3.5, 0.61),
        replace(event(4, "garage", "smoke_alarm", 7_330.0, 30.0, 0.74), reason=Reason.SOURCE_LOST),
        event(3, "kitchen", "glass_breaking", 30_400.0, 1.5, 0.83),
        event(2, "front_door", "dog_bark", 95_000.0, 71.0, 0.97),
    ),
    mqtt_connected=True,
    outbox=OutboxStatus(),
    reload=ReloadStatus(True, NOW - 5_400.0),
    stored=stored_in_words(CONFIG),
)
