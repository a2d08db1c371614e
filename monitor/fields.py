"""The kinds of value that a configuration is made of: bounded numbers, names, prompts, paths, hosts."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Section(BaseModel):
    """Frozen, and strict about names: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def finding(says: str, *route: str | int) -> PydanticCustomError:
    """Make an error about the value that `route` leads to; `says` goes on after the value, with a remedy."""
    return PydanticCustomError("finding", "{says}", {"says": says, "route": route})


def with_default(key: str, default: str) -> BeforeValidator:
    """Let a union's mapping leave out the key that tells its kind."""
    return BeforeValidator(lambda value: {key: default, **value} if isinstance(value, dict) else value)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return `; did you mean ...?` for the nearest of the words, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True, slots=True)
class Between:
    """Both bounds of a number in one place, so that an error can name both."""

    low: float
    high: float

    def check(self, value: float) -> float:
        """Return the value, or raise a finding."""
        if not self.low <= value <= self.high:
            raise finding(f"is not between {self.low:.12g} and {self.high:.12g}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Form:
    """A pattern of text, and in words what is wrong with text that hasn't got it."""

    pattern: str
    says: str

    def check(self, value: str) -> str:
        """Return the value, or raise a finding."""
        if not re.fullmatch(self.pattern, value):
            raise finding(self.says)
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^({self.pattern})$"}


def plain_name(text: str) -> str:
    """Write a text as the name of a source or an event: `Door Bell` becomes `door_bell`; may be empty."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")[:64].rstrip("_")


def _slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,64}", value):
        proposal = plain_name(value)
        remedy = f"; write {proposal}" if proposal else ""
        raise finding(f"is not a plain name (a-z, 0-9 and _, at most 64){remedy}")
    return value


def has_words(text: str) -> bool:
    """Tell whether a text says anything."""
    return any(character.isalnum() for character in text)


def _described(value: str) -> str:
    if not has_words(value):
        raise finding("is empty; describe the sound in words")
    return value


def _not_blank(value: object) -> object:
    if value == "":
        raise finding("is empty; give a path, or remove the line")
    return value


def _against_folder(path: Path, info: ValidationInfo) -> Path:
    """Resolve against the folder of the configuration file, which the loader gives as context."""
    try:
        return Path(info.context["folder"], path.expanduser()) if info.context else path
    except RuntimeError:
        raise finding("names a home folder that doesn't exist; write the whole path") from None


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Probability = Annotated[Number, Between(0.0, 1.0)]
Seconds = Annotated[Number, Between(0.0, 86_400.0)]
Dbfs = Annotated[Number, Between(-120.0, 0.0)]
Port = Annotated[Whole, Between(1, 65_535)]
Slug = Annotated[
    str, Field(json_schema_extra={"pattern": "^[a-z0-9_]+$", "maxLength": 64}), AfterValidator(_slug)
]
Slugs = Annotated[
    tuple[Slug, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=Slug | Annotated[list[Slug], Field(min_length=1)]),
    Field(min_length=1),  # after the rest, or a list of wrong items would be called empty too
]
Prompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_described),
]
Prompts = Annotated[
    tuple[Prompt, ...], BeforeValidator(_one_or_many, json_schema_input_type=Prompt | list[Prompt])
]
SomePrompts = Annotated[
    tuple[Prompt, ...],
    BeforeValidator(
        _one_or_many, json_schema_input_type=Prompt | Annotated[list[Prompt], Field(min_length=1)]
    ),
    Field(min_length=1),
]
FilePath = Annotated[Path, BeforeValidator(_not_blank), AfterValidator(_against_folder)]
SomeFiles = Annotated[
    tuple[FilePath, ...],
    BeforeValidator(
        _one_or_many, json_schema_input_type=FilePath | Annotated[list[FilePath], Field(min_length=1)]
    ),
    Field(min_length=1, max_length=100),
]
Host = Annotated[
    Text,
    Form(
        r"[A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Za-z:.%]*",
        "is not a host name or address; write it alone, without :// and :port",
    ),
]
DeviceClass = Literal[
    "battery",
    "battery_charging",
    "carbon_monoxide",
    "cold",
    "connectivity",
    "door",
    "garage_door",
    "gas",
    "heat",
    "light",
    "lock",
    "moisture",
    "motion",
    "moving",
    "occupancy",
    "opening",
    "plug",
    "power",
    "presence",
    "problem",
    "running",
    "safety",
    "smoke",
    "sound",
    "tamper",
    "update",
    "vibration",
    "window",
]
"""Those that Home Assistant knows for a binary sensor; it drops an entity with any other."""
