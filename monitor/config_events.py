"""The configuration's shape: one sound to listen for, and how its scores are steadied."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from monitor.fields import (
    Between,
    Dbfs,
    DeviceClass,
    Flag,
    Form,
    Number,
    Probability,
    Prompts,
    Seconds,
    Section,
    Slugs,
    SomeFiles,
    SomePrompts,
    finding,
    with_default,
)
from monitor.levels import level_score

SmoothingSeconds = Annotated[Number, Between(0, 3600)]


class EmaSmoothing(Section):
    """Exponential moving average, quicker to rise than to fall."""

    method: Literal["ema"] = "ema"
    seconds: SmoothingSeconds = 0.4
    """63 % of the way to a higher score takes this long."""
    fall_seconds: SmoothingSeconds = 1.5
    """63 % of the way to a lower score takes this long; the same as `seconds` makes it a plain average."""


class MedianSmoothing(Section):
    """Median of the scores of the last `seconds`."""

    method: Literal["median"]
    seconds: SmoothingSeconds = 1.5


class NoSmoothing(Section):
    """Decide on every window's score as it comes."""

    method: Literal["none"]


Smoothing = Annotated[
    EmaSmoothing | MedianSmoothing | NoSmoothing,
    Field(discriminator="method"),
    with_default("method", "ema"),
]


class LevelConfig(Section):
    """Any sound that is loud enough, whatever it is; the model isn't asked."""

    above_dbfs: Annotated[Number, Between(-99, 0)]
    """The event begins when the level of every hop, after `gain_db`, was at least this for `for_seconds`."""
    below_dbfs: Annotated[Number, Between(-100, 0)] | None = None
    """The event ends when the level was below this for `min_off_seconds`; default: 6 dB below above_dbfs."""
    for_seconds: Seconds = 0.0
    """Shorter than this, loudness doesn't begin an event; 0: one hop is enough."""

    @property
    def below(self) -> float:
        """The lower bound in force."""
        return self.above_dbfs - 6.0 if self.below_dbfs is None else self.below_dbfs

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.below > self.above_dbfs:
            raise finding(f"is above above_dbfs ({self.above_dbfs:g}); lower it", "below_dbfs")
        return self


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
Clock = Annotated[
    str, Form(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", "is not a time of the day; write it as 07:30")
]


class ScheduleEntry(Section):
    """A span of the local day, over midnight where it ends before it begins."""

    days: Annotated[
        tuple[Day, ...],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=Day | Annotated[list[Day], Field(min_length=1)],
        ),
        Field(min_length=1),
    ] = DAYS
    """The days on which it begins."""
    begin: Annotated[Clock, Field(alias="from")] = "00:00"
    """Local time, included."""
    end: Annotated[Clock, Field(alias="to")] = "24:00"
    """Local time, not included."""

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.begin == self.end:
            raise finding("is the same as from; leave both out for the whole day", "to")
        return self


class EventConfig(
    Section,
    json_schema_extra={
        "anyOf": [{"required": ["prompts"]}, {"required": ["examples"]}, {"required": ["level"]}]
    },
):
    """One sound to listen for."""

    prompts: SomePrompts = ()
    """The sound in your own words; several wordings are averaged."""
    examples: SomeFiles = ()
    """Recordings of the sound itself, beside `prompts` or instead of them: WAV, FLAC, OGG or MP3, relative to
    the configuration file."""
    negatives: Prompts = ()
    """Sounds that are often mistaken for it, in words; they take probability away from this event only."""
    level: LevelConfig | None = None
    """Any sound that is loud enough, instead of one in words: its score is the level, 0 at -100 dBFS and 1 at
    full scale, not smoothed unless `smoothing` says so here."""
    on_threshold: Probability = 0.5
    """The event begins when the smoothed score was at least this for `min_on_seconds`."""
    off_threshold: Probability | None = None
    """The event ends when the smoothed score was below this for `min_off_seconds`; default: 0.7 of on."""
    min_on_seconds: Seconds = 0.0
    """Shorter than this, a high score doesn't begin an event."""
    min_off_seconds: Seconds = 1.0
    """Shorter than this, a low score doesn't end an event."""
    cooldown_seconds: Seconds = 0.0
    """After an end, the event can't begin again for this long."""
    max_duration_seconds: Seconds | None = None
    """An event that lasts longer is ended (reason `max_duration`) and must fall below off before the next."""
    smoothing: Smoothing | None = None
    """Overrides the common `smoothing`."""
    min_level_dbfs: Dbfs | None = None
    """Windows quieter than this score 0; overrides the common gate of `windows`."""
    change_gate: Flag = True
    """false: `windows.change_gate` is off for all sources of this event."""
    clip: Flag = True
    """false: never record it, though `clips` are on."""
    device_class: DeviceClass | None = None
    """Home Assistant's device class for the binary sensor."""
    sources: Slugs | None = None
    """Listen for it on these sources only; default: all."""
    schedule: (
        Annotated[
            tuple[ScheduleEntry, ...],
            BeforeValidator(
                lambda value: [value] if isinstance(value, dict) else value,
                json_schema_input_type=ScheduleEntry | Annotated[list[ScheduleEntry], Field(min_length=1)],
            ),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Listen for it at these times only; what lasts then is ended (reason `schedule`). Default: always."""

    @property
    def off(self) -> float:
        """The off-threshold in force."""
        return 0.7 * self.on_threshold if self.off_threshold is None else self.off_threshold

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        if not (self.prompts or self.examples or self.level):
            raise PydanticCustomError("undescribed", "has neither prompts nor examples nor level")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _level_makes_the_rule(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        event = handler(values)
        if event.level is None:
            return event
        rule = {
            "on_threshold": level_score(event.level.above_dbfs),
            "off_threshold": level_score(event.level.below),
            "min_on_seconds": event.level.for_seconds,
        }
        for key in ("prompts", "examples", "negatives", "min_level_dbfs", *rule):
            default = cls.model_fields[key].default
            if getattr(event, key) not in {default, rule.get(key, default)}:
                raise finding("can't stand beside level; remove one of them", key)
        return event.model_copy(update=rule | {"smoothing": event.smoothing or NoSmoothing(method="none")})

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.off_threshold is not None and self.off_threshold > self.on_threshold:
            raise finding(f"is above on_threshold ({self.on_threshold:g}); lower it", "off_threshold")
        return self


def short_form(value: object) -> object:
    """Write an event given by its prompts alone as a mapping."""
    return {"prompts": value} if isinstance(value, str | list) else value
