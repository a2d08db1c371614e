"""`sound-monitor devices`: the inputs that are there, and what to write for each."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from monitor.errors import SourceError
from monitor.sources.devices import list_inputs, match, selector

_MISSING = "no input device is there: plug one in; a service needs the group `audio`"


def print_inputs(*, as_json: bool) -> None:
    """Print every input with the `device:` string that means exactly it; raises SourceError without any."""
    inputs = list_inputs()
    rows = [(each, selector(each, inputs)) for each in inputs]
    if as_json:
        shown = [each.to_json() | {"device": text} for each, text in rows]
        print(json.dumps(shown, indent=2, ensure_ascii=False))  # noqa: T201
        return
    if not inputs:
        raise SourceError(_MISSING)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("default")
    table.add_column("device: to write", overflow="fold")
    table.add_column("name", overflow="fold")
    table.add_column("system")
    table.add_column("channels", justify="right")
    table.add_column("rate (Hz)", justify="right")
    for each, text in rows:
        mark = "*" if each.is_default else ""
        channels, rate_hz = str(each.channels), str(each.default_rate_hz)
        table.add_row(mark, text or "(not unique)", each.name, each.host_api, channels, rate_hz)
    Console().print(table)


def default_input() -> str:
    """Return the name of the system's default input; raises SourceError where there is none."""
    return match(None, list_inputs()).name
