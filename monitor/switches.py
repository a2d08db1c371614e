"""Which detection is switched off by hand, and the file that remembers it over restarts."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from monitor.config import Config
from monitor.files import replace_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Switches:
    """What is switched off; everything else is on, also what the configuration gets later."""

    off: frozenset[str] = frozenset()
    """`source` for a whole source, `source/event` for one event on it; each keeps its own position."""

    def on(self, source: str, event: str | None = None) -> bool:
        """Tell the position of one switch, whatever that of the whole source is."""
        return _key(source, event) not in self.off

    def detects(self, source: str, event: str) -> bool:
        """Tell whether both an event's own switch and its source's are on."""
        return self.on(source) and self.on(source, event)

    def turned(self, source: str, event: str | None, on: bool) -> Switches:
        """Return the switches with one of them turned."""
        key = frozenset({_key(source, event)})
        return Switches(self.off - key if on else self.off | key)

    def within(self, config: Config) -> Switches:
        """Return those of what is still listened for.

        What comes back into the configuration later is on: nothing is deaf for a reason long forgotten.
        """
        return Switches(self.off & {_key(*switch) for switch in config.switches()})


NOTHING_OFF = Switches()


def _key(source: str, event: str | None) -> str:
    return source if event is None else f"{source}/{event}"


def load_switches(path: Path) -> Switches:
    """Return what the file remembers; a damaged file is told, and everything is on."""
    try:
        return Switches(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Switches()
    except (OSError, ValueError) as error:
        _log.warning("%s: can't be read (%s); all detection is switched on", path, error)
        return Switches()


def _parsed(text: str) -> frozenset[str]:
    match json.loads(text):
        case {"off": [*keys]} if all(isinstance(key, str) for key in keys):
            return frozenset(keys)
    raise ValueError('is not {"off": ["source", "source/event", ...]}')


def save_switches(path: Path, switches: Switches) -> None:
    """Write the file whole or not at all, with its folder where that is missing; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps({"off": sorted(switches.off)}) + "\n")
