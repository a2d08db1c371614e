"""The configuration's shape: one sound to listen for, and how its scores are steadied."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import (
    Between,
    Dbfs,
    DeviceClass,
    Flag,
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

SmoothingSeconds = Annotated[Number, Between(0, 3600)]


class EmaSmoothing(Section):
    """Exponential moving average; its step response reaches 63 % after `seconds`."""

    method: Literal["ema"] = "ema"
    seconds: SmoothingSeconds = 0.75


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


class EventConfig(
    Section, json_schema_extra={"anyOf": [{"required": ["prompts"]}, {"required": ["examples"]}]}
):
    """One sound to listen for."""

    prompts: SomePrompts = ()
    """The sound in your own words; several wordings are averaged."""
    examples: SomeFiles = ()
    """Recordings of the sound itself, beside `prompts` or instead of them: WAV, FLAC, OGG or MP3, relative to
    the configuration file."""
    negatives: Prompts = ()
    """Sounds that are often mistaken for it, in words; they take probability away from this event only."""
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
    clip: Flag = True
    """false: never record it, though `clips` are on."""
    device_class: DeviceClass | None = None
    """Home Assistant's device class for the binary sensor."""
    sources: Slugs | None = None
    """Listen for it on these sources only; default: all."""

    @property
    def off(self) -> float:
        """The off-threshold in force."""
        return 0.7 * self.on_threshold if self.off_threshold is None else self.off_threshold

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        if not (self.prompts or self.examples):
            raise finding("has neither prompts nor examples; add one of them")
        return self

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.off_threshold is not None and self.off_threshold > self.on_threshold:
            raise finding(f"is above on_threshold ({self.on_threshold:g}); lower it", "off_threshold")
        return self


def short_form(value: object) -> object:
    """Write an event given by its prompts alone as a mapping."""
    return {"prompts": value} if isinstance(value, str | list) else value
