"""What the settings mean together, in windows and seconds: one account for `check` and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.config import (
    DAYS,
    Config,
    EmaSmoothing,
    EventConfig,
    MedianSmoothing,
    NoSmoothing,
    ScheduleEntry,
)
from monitor.levels import level_dbfs_of
from monitor.smoothing import median_length

DELAY_ASSUMES = (
    "Delays count from the onset, at the worst moment for the windows, of a sound that scores 1.0 in every "
    "window it fills and 0 before; the time of scoring comes on top."
)
MOST_BEHIND_SECONDS = 60.0
"""Sound that is kept in memory, at most, for the clip of an event that hasn't been told yet."""
# Like the state machine's: rounding of floating-point seconds, nothing else.
_SLACK_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Timing:
    """How many windows a decision takes, for one event."""

    rise_windows: int | None
    """Windows that score 1.0 until the smoothed score is at the on-threshold; None: it never is."""
    hold_windows: int
    """Further windows at or above it, for `min_on_seconds`."""
    release_windows: int
    """Windows below the off-threshold until the event ends, the first included."""
    delay_seconds: float | None
    """From a sound's onset to the start event, at most; see DELAY_ASSUMES."""

    @classmethod
    def of(cls, config: Config, event: str) -> Timing:
        """Work it out for an event of a configuration."""
        rules, windows = config.events[event], config.windows
        rise = _rise_windows(config.smoothing_of(event), rules.on_threshold, windows.hop_seconds)
        hold = whole_hops(rules.min_on_seconds, windows.hop_seconds)
        # A sound that begins just after a window did fills the next one: a hop and a window later. A level is
        # that of the newest hop.
        filled = windows.hop_seconds if rules.level else windows.window_seconds
        delay = None if rise is None else filled + (rise + hold) * windows.hop_seconds
        release = whole_hops(rules.min_off_seconds, windows.hop_seconds) + 1
        return cls(rise, hold, release, delay)


def whole_hops(seconds: float, hop_seconds: float) -> int:
    """Hops until at least this long has passed; decisions fall on windows only."""
    return max(0, math.ceil((seconds - _SLACK_SECONDS) / hop_seconds))


def _rise_windows(
    smoothing: EmaSmoothing | MedianSmoothing | NoSmoothing, threshold: float, hop_seconds: float
) -> int | None:
    """Length of the step response: windows of score 1 after a past of 0 until it is at the threshold."""
    match smoothing:
        case EmaSmoothing(seconds=seconds) if seconds > 0.0:
            if threshold >= 1.0:
                return None
            return max(1, math.ceil(-math.log1p(-threshold) * seconds / hop_seconds - 1e-9))
        case MedianSmoothing(seconds=seconds):
            return median_length(seconds, hop_seconds) // 2 + 1 if threshold > 0.0 else 1
        case _:
            return 1


def kept_behind_seconds(config: Config) -> float:
    """How long after its beginning an event is told, in the worst case, on a slow machine; within bounds."""
    steadied = [config.smoothing_of(event) for event in config.events]
    smoothing = max(
        getattr(each, "seconds", 0.0) * (1.0 if isinstance(each, MedianSmoothing) else 3.0)
        for each in steadied
    )
    longest = max(each.min_on_seconds for each in config.events.values())
    behind = 3 * config.windows.window_seconds + smoothing + longest + 5.0
    return min(behind, MOST_BEHIND_SECONDS)


def windows_in_words(config: Config) -> str:
    """Say how the sound is cut."""
    windows = config.windows
    return (
        f"{windows.window_seconds:g} s of sound are scored every {windows.hop_seconds:g} s; "
        f"quieter than {windows.min_level_dbfs:g} dBFS counts as 0"
    )


def stored_in_words(config: Config) -> tuple[str, ...]:
    """Say what is kept of what is heard."""
    clips = config.clips
    if clips is None:
        lines = ["sound is scored and forgotten; none of it is stored"]
    else:
        around = f"with {clips.pre_seconds:g} s before and {clips.post_seconds:g} s after it"
        lines = [
            f"the sound of every event is kept in {clips.directory}, {around}, for {clips.keep_days:g} days"
        ]
        if config.privacy.veto:
            lines.append(f"unless it sounds like: {', '.join(config.privacy.veto)}")
    if config.mqtt is not None:
        lines.append(
            "events (name, times, score) are kept on disk until the broker has taken them, "
            f"for {config.outbox.max_age_days:g} days at most"
        )
    if (history := config.history) is not None:
        lines.append(
            "what was heard is kept as embeddings, which can be searched but not played, "
            f"for {history.keep_days:g} days or up to {history.max_bytes / 1e9:g} GB"
        )
    return tuple(lines)


def event_in_words(config: Config, event: str) -> tuple[str, ...]:
    """Say how an event begins, how it ends, how its score is smoothed and at what times, each in a line."""
    schedule = config.events[event].schedule
    return (
        _beginning(config, event),
        _end(config, event),
        _smoothing(config, event),
        *([f"only {schedule_in_words(schedule)}, local time"] if schedule else []),
    )


def schedule_in_words(entries: Sequence[ScheduleEntry]) -> str:
    """Say when a schedule applies."""
    return " and ".join(_span(entry) for entry in entries)


def _span(entry: ScheduleEntry) -> str:
    days = [day for day in DAYS if day in entry.days]
    first, last = DAYS.index(days[0]), DAYS.index(days[-1])
    if len(days) == len(DAYS):
        named = "daily "
    elif len(days) > 2 and last - first + 1 == len(days):
        named = f"{days[0]} to {days[-1]} "
    else:
        named = f"{', '.join(days)} "
    all_day = (entry.begin, entry.end) == ("00:00", "24:00")
    return f"{named}all day" if all_day else f"{named}from {entry.begin} to {entry.end}"


def _beginning(config: Config, event: str) -> str:
    rules, timing, smoothing = config.events[event], Timing.of(config, event), config.smoothing_of(event)
    begins = f"begins at {_threshold(rules, rules.on_threshold)}"
    if isinstance(smoothing, MedianSmoothing) and timing.rise_windows:
        length = median_length(smoothing.seconds, config.windows.hop_seconds)
        begins += f" in {timing.rise_windows} of {_windows(length)}"
    if timing.hold_windows:
        begins += f", held for {rules.min_on_seconds:g} s ({_windows(timing.hold_windows + 1)} in a row)"
    told = (
        "never told" if timing.delay_seconds is None else f"told within {round(timing.delay_seconds, 2):g} s"
    )
    return f"{begins}; {told}"


def _threshold(rules: EventConfig, score: float) -> str:
    return f"{score:.3g}" if rules.level is None else f"{level_dbfs_of(score):.3g} dBFS"


def _end(config: Config, event: str) -> str:
    rules, timing = config.events[event], Timing.of(config, event)
    ends = f"ends below {_threshold(rules, rules.off)} for {rules.min_off_seconds:g} s"
    ends += f" ({_windows(timing.release_windows)})"
    if rules.max_duration_seconds is not None:
        ends += f" or after {rules.max_duration_seconds:g} s"
    if rules.cooldown_seconds:
        ends += f"; can't begin again for {rules.cooldown_seconds:g} s"
    return ends


def _smoothing(config: Config, event: str) -> str:
    hop_seconds = config.windows.hop_seconds
    match config.smoothing_of(event):
        case EmaSmoothing(seconds=rise, fall_seconds=fall) if rise == fall > 0.0:
            return f"smoothed by an average over {rise:g} s ({_windows(rise / hop_seconds)})"
        case EmaSmoothing(seconds=rise, fall_seconds=fall) if rise > 0.0 or fall > 0.0:
            return f"smoothed by an average that rises over {rise:g} s and falls over {fall:g} s"
        case MedianSmoothing(seconds=seconds):
            length = median_length(seconds, hop_seconds)
            return f"smoothed by the median of {_windows(length)} ({length * hop_seconds:g} s)"
        case _:
            return "not smoothed"


def _windows(count: float) -> str:
    return f"{round(count, 2):g} window{'' if count == 1 else 's'}"
