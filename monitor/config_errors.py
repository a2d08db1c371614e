"""pydantic's errors in plain sentences, at the line and field that a person would look for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.config import Config, Section
from monitor.fields import did_you_mean
from monitor.yaml_tree import Document, Place, Route, Tree, dotted, meaning, shown, typed

_LONG_LIST = 8
_SCALAR_TYPES = {"string_type", "int_type", "float_type", "bool_type"}
_EXAMPLES: dict[Route, str] = {
    ("sources",): "add one, as in  sources: {room: {type: microphone}}",
    ("events",): "add one, as in  events: {dog_bark: a dog barking}",
}
_CALLED = {
    "gpu": "cuda",
    "fp32": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "mic": "microphone",
    "rtsp": "ffmpeg",
}
"""What other programs call it."""
_WITH_UNIT = re.compile(r"([-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z%]+)")
_UNITS: dict[str, dict[str, float]] = {
    "seconds": {"ms": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
    | {"h": 3600, "hour": 3600, "d": 86_400, "day": 86_400},
    "days": {"h": 1 / 24, "hour": 1 / 24, "d": 1, "day": 1, "w": 7, "week": 7, "month": 30, "year": 365},
    "bytes": {"b": 1, "byte": 1}
    | {f"{prefix}{unit}": 1000**power for power, prefix in enumerate("kmgt", 1) for unit in ("", "b")}
    | {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
    "hz": {"hz": 1, "k": 1000, "khz": 1000},
}
"""What a value is multiplied by, by what its key ends in and the unit that it was given."""
_MAY_BE_NULL: list[Route] = [("mqtt",), ("mqtt", "tls"), ("history",), ("clips",), ("windows", "change_gate")]
_OFF: dict[Route, str] = dict.fromkeys(_MAY_BE_NULL, "null") | {
    ("http",): "{enabled: false}",
    ("mqtt", "homeassistant"): "{enabled: false}",
}
_ON: dict[Route, str] = dict.fromkeys(_OFF, "{}") | {("clips",): "{directory: clips}"}
"""What true and false were meant for where a section stands."""


def explain(error: ValidationError, document: Document) -> list[str]:
    """Return one line per finding, in the files' order."""
    files = list(dict.fromkeys(place.file for place in document.places.values()))
    findings = {_finding(detail, document) for detail in _details(error)}
    ordered = sorted(findings, key=lambda found: (files.index(found[0].file), found[1], found[2]))
    return [f"{place.file}:{line}: {says}" for place, line, says in ordered]


def retyped(error: ValidationError, document: Document) -> dict[Route, Tree]:
    """Give values that came out of the environment the type that is wanted, where that helps.

    A variable has YAML's type (`port: ${PORT}`), but a password doesn't become a number the day it is changed
    to digits alone, and a port that had to be quoted is a number still.
    """
    values: dict[Route, Tree] = {}
    for detail in _details(error):
        route = _route(detail["loc"], document.tree)
        place = document.places[route]
        if place.variables and place.text is not None and detail["type"] in _SCALAR_TYPES:
            values[route] = place.text if detail["type"] == "string_type" else typed(place.text)
    return values


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _finding(detail: ErrorDetails, document: Document) -> tuple[Place, int, str]:
    """Return the place, its line and the sentence."""
    kind, loc, context = detail["type"], detail["loc"], detail.get("ctx", {})
    if kind == "union_tag_invalid":
        loc = (*loc, context["discriminator"].strip("'"))
    route = _route((*loc, *context.get("route", ())), document.tree)
    place = document.places[route]
    case = _Case(context, _at(document.tree, route), place, route)
    if kind == "missing":
        wanted = (*route, loc[-1])
        return place, place.key_line, f"{dotted(wanted)}: is missing; {_EXAMPLES.get(wanted, 'add it')}"
    if kind == "extra_forbidden":
        return place, place.key_line, f"{dotted(route)}: {_unknown_key(loc)}"
    if kind == "undescribed" and place.file != document.file:
        return place, place.line, f"{dotted(route)}: {_unknown_event(route[-1], document)}"
    if loc and loc[-1] == "[key]":
        key_place = Place(place.file, place.key_line, place.key_line)
        return place, place.key_line, f"{dotted(route[:-1])}: {shown(route[-1], key_place)} {context['says']}"
    return place, place.line, f"{dotted(route)}: {_SENTENCES[kind](case)}"


@dataclass(frozen=True, slots=True)
class _Case:
    """A value that was refused."""

    context: dict[str, Any]
    value: Tree
    place: Place
    route: Route

    @property
    def text(self) -> str:
        return shown(self.value, self.place)

    @property
    def is_plain(self) -> bool:
        """Whether the text is the value itself, so that a remedy may repeat it: nothing is secret or cut."""
        return self.text in {repr(self.value), self.place.text}


def _choice(case: _Case) -> str:
    choices = re.findall(r"'([^']*)'", case.context.get("expected_tags") or case.context["expected"])
    word = case.place.text or ""
    near = did_you_mean(_CALLED.get(word.lower(), word), choices)
    known = "known here" if near and len(choices) > _LONG_LIST else f"one of {', '.join(choices)}"
    return f"{case.text} is not {known}{near}"


def _not_text(case: _Case) -> str:
    if case.value is None or isinstance(case.value, list | dict):
        return _not_a(case, "text")
    example = "" if case.place.secret else f': "{case.place.text}"'
    return f"{case.text} is {meaning(case.value)} to YAML; write it in quotes{example}"


def _empty_text(case: _Case) -> str:
    is_prompt = not {"prompts", "negatives", "background"}.isdisjoint(case.route)
    return f"is empty; {'describe the sound in words' if is_prompt else 'give a value, or remove the line'}"


def _not_a_number(case: _Case, kind: str) -> str:
    return f"{case.text} is not {kind}{_number_remedy(case)}"


def _number_remedy(case: _Case) -> str:
    value = case.value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 and not case.place.secret:
        return f"; write {_plain(value)}"
    if not isinstance(value, str) or case.place.secret:
        return ""
    if case.place.quoted and re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+", value):
        return "; write it without quotes"
    match = _WITH_UNIT.fullmatch(value.strip())
    return f"; write {_without_unit(case.route, match[1], match[2].lower())}" if match else ""


def _without_unit(route: Route, number: str, unit: str) -> str:
    if unit == "%":
        return _plain(float(number) / 100)
    wanted = str(route[-1]).rpartition("_")[2]
    factors = _UNITS.get(wanted, {})
    factor = factors.get(unit) or factors.get(unit.removesuffix("s"))
    if factor is None:
        return f"it without the unit: {number}"
    return f"{wanted} without a unit: {_plain(float(number) * factor)}"


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else f"{number:.6g}"


def _checked(case: _Case) -> str:
    says = case.context["says"]
    return str(says) if isinstance(case.value, dict | list) else f"{case.text} {says}"


def _not_a(case: _Case, kind: str) -> str:
    remedy = "; remove the line for the default" if case.value is None else ""
    return f"is {case.text}, not {kind}{remedy}"


def _not_texts(case: _Case) -> str:
    if not isinstance(case.value, str):
        return _not_a(case, "text or a list of texts")
    if case.route[-1] == "schedule":
        return _not_a(case, "a mapping or a list of them") + "; write {from: 22:00, to: 06:00}"
    return _not_a(case, "a list") + f"; write {_words(case)}"


def _words(case: _Case) -> str:
    with suppress(ValueError):
        if case.is_plain:
            return yaml.safe_dump(shlex.split(str(case.value)), default_flow_style=True, width=1000).strip()
    return "[program, argument]"


def _not_a_mapping(case: _Case) -> str:
    meant = _meant(case.route, case.value) if case.is_plain else None
    return _not_a(case, "a mapping (key: value)") + (f"; write {case.route[-1]}: {meant}" if meant else "")


def _meant(route: Route, value: Tree) -> str | None:
    """Return the mapping that a plain value was meant for, where that is known."""
    match route, value:
        case _, bool():
            return (_ON if value else _OFF).get(route)
        case ("encoder",), str():
            return f"{{model: {value}}}"
        case ("smoothing",) | ("events", _, "smoothing"), "none":
            return "{method: none}"
        case ("events", _, "level"), int() | float():
            return f"{{above_dbfs: {value}}}"
    return None


_SENTENCES: dict[str, Callable[[_Case], str]] = {
    "finding": _checked,
    "undescribed": lambda _: "has neither prompts nor examples nor level; add one of them",
    "literal_error": _choice,
    "union_tag_invalid": _choice,
    "string_type": _not_text,
    "path_type": _not_text,
    "string_too_short": _empty_text,
    "string_too_long": lambda case: f"is longer than {case.context['max_length']} characters; shorten it",
    "int_type": lambda case: _not_a_number(case, "a whole number"),
    "int_from_float": lambda case: _not_a_number(case, "a whole number"),
    "float_type": lambda case: _not_a_number(case, "a number"),
    "finite_number": lambda case: _not_a_number(case, "a finite number"),
    "bool_type": lambda case: f"{case.text} is not true or false",
    "tuple_type": _not_texts,
    "too_short": lambda _: "is empty; give at least one",
    "too_long": lambda case: f"has more than {case.context['max_length']} entries; remove some",
    "model_type": _not_a_mapping,
    "model_attributes_type": _not_a_mapping,
    "union_tag_not_found": _not_a_mapping,
    "dict_type": _not_a_mapping,
}


def _unknown_event(name: str | int, document: Document) -> str:
    """Take an overlay's event without a description for one of the main file's, misspelt or renamed there."""
    events = [
        str(route[1])
        for route, place in document.places.items()
        if route[0:1] == ("events",) and len(route) == 2 and place.file == document.file
    ]
    near = did_you_mean(str(name), events) or "; mend or remove it, or add prompts"
    return f"is not an event of {document.file}{near}"


def _unknown_key(loc: Route) -> str:
    key = str(loc[-1])
    models, kinds = _models_at(loc[:-1])
    known = sorted({name for model in models for name in model.model_fields})
    if near := did_you_mean(key, known):
        return f"is not a known key{near}"
    for kind in kinds:
        if key in kind.model_fields:
            tag, field = next(iter(kind.model_fields.items()))
            return f"is not a known key here; it goes with {tag}: {get_args(field.annotation)[0]}"
    for top, field in Config.model_fields.items():
        if any(key in model.model_fields for model in _models_in(field.annotation)):
            return f"is not a known key here; it belongs under {top}"
    return f"is not a known key; known here: {', '.join(known)}"


def _models_at(loc: Route) -> tuple[list[type[Section]], list[type[Section]]]:
    """Find the model that pydantic's location of a mapping leads to, and all kinds of a union there."""
    models: list[type[Section]] = [Config]
    kinds = models
    keys = iter(loc)
    for key in keys:
        fields = [model.model_fields[str(key)] for model in models if key in model.model_fields]
        if fields:
            models = kinds = [model for field in fields for model in _models_in(field.annotation)]
            if any(get_origin(field.annotation) is dict for field in fields):
                next(keys, None)
        else:
            tagged = [m for m in kinds if any(key in get_args(f.annotation) for f in m.model_fields.values())]
            models = tagged or models
    return models, kinds


def _models_in(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _route(loc: Route, tree: Tree) -> Route:
    """Leave out what pydantic's location holds beside keys and positions: kinds of unions, wrapped items."""
    route: list[str | int] = []
    for key in loc:
        if (isinstance(tree, dict) and key in tree) or (isinstance(tree, list) and isinstance(key, int)):
            tree = tree[key]  # type: ignore[index]
            route.append(key)
    return tuple(route)


def _at(tree: Tree, route: Route) -> Tree:
    for key in route:
        tree = tree[key]  # type: ignore[index]
    return tree
