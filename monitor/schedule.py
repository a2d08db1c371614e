"""When an event is listened for, by the clock on the wall."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from monitor.config import DAYS, ScheduleEntry

_MINUTES_OF_A_DAY = 24 * 60


class Schedule:
    """Any of some spans of the local day; one that ends before it begins goes on into the next day.

    Days are those on which a span begins. When clocks are set, the hour that is left out is in no span, and
    the one that comes twice is in its spans twice.
    """

    def __init__(self, entries: Sequence[ScheduleEntry], zone: tzinfo | None = None) -> None:
        """Take what is configured; times are of `zone`, or of the system's where it is None."""
        self._zone = zone
        self._spans = [
            ({DAYS.index(day) for day in entry.days}, minute_of(entry.begin), minute_of(entry.end))
            for entry in entries
        ]

    def includes(self, time: float) -> bool:
        """Tell whether a time, in Unix seconds, is in one of the spans."""
        local = datetime.fromtimestamp(time, self._zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        return any(_within(span, day, minute) for span in self._spans)


def minute_of(clock: str) -> int:
    """Return the minutes from midnight to `HH:MM`; 24:00 is the day's end."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _within(span: tuple[set[int], int, int], day: int, minute: int) -> bool:
    days, begin, end = span
    if end <= begin:
        end += _MINUTES_OF_A_DAY
    begun_today = day in days and begin <= minute < end
    return begun_today or ((day - 1) % 7 in days and minute + _MINUTES_OF_A_DAY < end)
