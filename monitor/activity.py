"""When an event begins and ends: hysteresis, minimum on and off, cooldown and maximum duration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from monitor.config import EventConfig
from monitor.types import Reason

# Times come from the sample clock; this absorbs the rounding of floating-point seconds, nothing else.
_SLACK_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Rule:
    """The thresholds and times of one event, times in seconds."""

    on_threshold: float
    off_threshold: float
    min_on_seconds: float = 0.0
    min_off_seconds: float = 0.0
    cooldown_seconds: float = 0.0
    max_duration_seconds: float | None = None

    @classmethod
    def of(cls, event: EventConfig) -> Rule:
        """Take the rule out of an event's configuration."""
        return cls(
            on_threshold=event.on_threshold,
            off_threshold=event.off,
            min_on_seconds=event.min_on_seconds,
            min_off_seconds=event.min_off_seconds,
            cooldown_seconds=event.cooldown_seconds,
            max_duration_seconds=event.max_duration_seconds,
        )


@dataclass(frozen=True, slots=True)
class Started:
    """An occurrence has begun."""

    started_at: float
    score: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The occurrence that had begun has ended."""

    started_at: float
    ended_at: float
    peak_score: float
    reason: Reason


class _State(Enum):
    IDLE = auto()
    RISING = auto()
    """At or above on, not yet for min_on."""
    ACTIVE = auto()
    FALLING = auto()
    """Active, below off, not yet for min_off."""
    SPENT = auto()
    """Ended by its maximum duration; must fall below off before it may begin again."""


class ActivityMachine:
    """One event of one source; decides on the smoothed score and the sample clock alone."""

    __slots__ = ("_cooldown_until", "_peak", "_rule", "_since", "_started_at", "_state")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._state = _State.IDLE
        self._since = 0.0
        self._started_at = 0.0
        self._peak = 0.0
        self._cooldown_until = float("-inf")

    @property
    def active(self) -> bool:
        """Whether a start has been told and its end not yet."""
        return self._state in {_State.ACTIVE, _State.FALLING}

    @property
    def idle(self) -> bool:
        """Whether a score below on would change nothing."""
        return self._state is _State.IDLE

    @property
    def started_at(self) -> float | None:
        """Seconds at which the active occurrence began."""
        return self._started_at if self.active else None

    def process(self, time: float, score: float) -> Started | Ended | None:
        """Take the smoothed score of the window that ends at `time` (seconds, never decreasing)."""
        if self.active:
            return self._while_active(time, score)
        if self._state is _State.SPENT:
            if score >= self._rule.off_threshold:
                return None
            self._state = _State.IDLE
        return self._while_inactive(time, score)

    def end(self, time: float, reason: Reason) -> Ended | None:
        """End what is active now, for a reason outside the scores, and begin anew.

        `time` may lie before the start, which came with a window that was filled up with silence: the sound
        was shorter than it, and its dates will be put right.
        """
        ended = self._ended(time, reason) if self.active else None
        self._state = _State.IDLE
        return ended

    def forget(self) -> None:
        """Begin anew, as if nothing had ever been told."""
        self._state = _State.IDLE
        self._cooldown_until = float("-inf")

    def _while_inactive(self, time: float, score: float) -> Started | None:
        rule = self._rule
        if score < rule.on_threshold or time < self._cooldown_until - _SLACK_SECONDS:
            self._state = _State.IDLE
            return None
        if self._state is _State.IDLE:
            self._state = _State.RISING
            self._since = time
            self._peak = score
        self._peak = max(self._peak, score)
        if time - self._since < rule.min_on_seconds - _SLACK_SECONDS:
            return None
        self._state = _State.ACTIVE
        self._started_at = self._since
        return Started(self._started_at, self._peak)

    def _while_active(self, time: float, score: float) -> Ended | None:
        rule = self._rule
        self._peak = max(self._peak, score)
        longest = rule.max_duration_seconds
        if longest is not None and time - self._started_at >= longest - _SLACK_SECONDS:
            ended = self._ended(time, Reason.MAX_DURATION)
            self._state = _State.SPENT if score >= rule.off_threshold else _State.IDLE
            return ended
        if score >= rule.off_threshold:
            self._state = _State.ACTIVE
            return None
        if self._state is _State.ACTIVE:
            self._state = _State.FALLING
            self._since = time
        if time - self._since < rule.min_off_seconds - _SLACK_SECONDS:
            return None
        ended = self._ended(self._since, Reason.THRESHOLD)
        self._state = _State.IDLE
        return ended

    def _ended(self, time: float, reason: Reason) -> Ended:
        self._cooldown_until = time + self._rule.cooldown_seconds
        return Ended(self._started_at, time, self._peak, reason)
