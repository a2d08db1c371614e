"""From configuration files to a `Config`, or to errors that name file, line, field, value and remedy."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from monitor.config import Config, short_form
from monitor.config_errors import explain, retyped
from monitor.errors import ConfigError
from monitor.yaml_tree import Document, Route, Tree, read_yaml

_MAX_BYTES = 1024 * 1024
_BEGIN_OVERLAY = "write what it changes, or leave it out"


def load_config(
    path: Path, environ: Mapping[str, str] | None = None, overlays: Sequence[Path] = ()
) -> Config:
    """Read a configuration, with later files laid over it; raise ConfigError with a line for every finding.

    Mappings of an overlay are merged, everything else replaces. Relative paths in any of the files are
    relative to the folder of the first.
    """
    variables = os.environ if environ is None else environ
    main = _read(path, variables, begin="see config/demo.yaml for a start")
    document = reduce(_lay_over, (_read(each, variables, begin=_BEGIN_OVERLAY) for each in overlays), main)
    context = {"folder": path.absolute().parent}
    try:
        try:
            return Config.model_validate(document.tree, context=context)
        except ValidationError as error:
            values = retyped(error, document)
            if not values:
                raise
            for route, value in values.items():
                _replace(document.tree, route, value)
            return Config.model_validate(document.tree, context=context)
    except ValidationError as error:
        raise ConfigError(*explain(error, document)) from None


def _read(path: Path, environ: Mapping[str, str], *, begin: str) -> Document:
    document = read_yaml(_text(path), str(path), environ, begin=begin)
    if not isinstance(document.tree, dict):
        kind = "a list" if isinstance(document.tree, list) else "a single value"
        line = document.places[()].line
        raise ConfigError(f"{path}:{line}: {kind} stands at the top; write keys such as sources: and events:")
    return _with_long_events(document)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a configuration") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the path of a configuration in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: can't be read ({reason}); mend its path or its permissions") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES // 1024} KiB; is this a configuration?")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise ConfigError(f"{path}:{line}: isn't UTF-8 (byte {byte:#04x}); save it as UTF-8") from None


def _with_long_events(document: Document) -> Document:
    """Write events given by their prompts alone as mappings, so that overlays can add to them."""
    events = cast("dict[str, Tree]", document.tree).get("events")
    if not isinstance(events, dict):
        return document
    short = {name for name, value in events.items() if isinstance(value, str | list)}
    for name in short:
        events[name] = cast("Tree", short_form(events[name]))

    for route, place in list(document.places.items()):
        if route[:1] == ("events",) and len(route) > 1 and route[1] in short:
            document.places[(*route[:2], "prompts", *route[2:])] = place
            if len(route) > 2:
                del document.places[route]
    return document


def _lay_over(base: Document, over: Document) -> Document:
    replaced: set[Route] = set()

    def merged(below: Tree, above: Tree, route: Route) -> Tree:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            replaced.add(route)
            return above
        common = {key: merged(below[key], above[key], (*route, key)) for key in below if key in above}
        return below | above | common

    tree = merged(base.tree, over.tree, ())
    kept = {
        route: place
        for route, place in base.places.items()
        if not any(route[:length] in replaced for length in range(len(route) + 1))
    }
    return Document(tree, over.places | kept)


def _replace(tree: Tree, route: Route, value: Tree) -> None:
    *parents, last = route
    for key in parents:
        tree = cast("dict[str | int, Tree]", tree)[key]
    cast("dict[str | int, Tree]", tree)[last] = value
