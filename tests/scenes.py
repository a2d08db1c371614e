"""A made-up house, as the daemon would describe it: for the tests of the page and of `/status.json`."""

from dataclasses import replace

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
    windows="A window of 2.0 s is scored every 0.5 s; windows quieter than -70 dBFS score 0.",
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
    events=(
        EventRule(
            "dog_bark",
            0.5,
            0.35,
            "Begins when the smoothed score is at least 0.50, "
            "ends after 1.0 s below 0.35. A sound is told at most 1.9 s after it began.",
        ),
        EventRule(
            "smoke_alarm",
            0.6,
            0.42,
            "Begins after 1.0 s at 0.60 or more, "
            "ends after 5.0 s below 0.42. "
            "A sound is told at most 3.1 s after it began.",
        ),
        EventRule(
            "glass_breaking",
            0.7,
            0.49,
            "Begins when the smoothed score is at least 0.70, "
            "ends after 1.0 s below 0.49, then rests for 30 s.",
        ),
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
)
