"""The sound card's inputs, and which of them a `device:` string means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from monitor.errors import SourceError
from monitor.sources.helper import ask

_LISTING = "run `sound-monitor devices` to see them all"
_ALSA_ADDRESS = re.compile(r"\(hw:(?P<card>\d+),(?P<device>\d+)\)")


@dataclass(frozen=True, slots=True)
class InputDevice:
    """One input as PortAudio tells it."""

    index: int
    """PortAudio's own number; means nothing in another process or after a replug."""
    name: str
    host_api: str
    channels: int
    default_rate_hz: int
    is_default: bool
    card: str | None = None
    """ALSA's card id, which stays when the card's number changes; None for what is not a card."""

    @property
    def label(self) -> str:
        """What a part of is looked for in."""
        return f"{self.name}, {self.host_api}"

    @property
    def address(self) -> str | None:
        """ALSA's address by card id, such as `hw:CARD=Device,DEV=0`."""
        found = _ALSA_ADDRESS.search(self.name)
        return f"hw:CARD={self.card},DEV={found['device']}" if found and self.card else None

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        return cls(**values)


def list_inputs() -> list[InputDevice]:
    """Ask PortAudio for the inputs that are there now; takes a fraction of a second and blocks.

    Raises SourceError when PortAudio is missing or doesn't answer.
    """
    return [InputDevice.from_json(values) for values in ask({"list": True})["inputs"]]


def match(device: str | None, inputs: Sequence[InputDevice]) -> InputDevice:
    """Return the one input that `device` means; the system's default for None.

    A whole name, ALSA card id or address comes before a part of a name; upper and lower case are the same.
    Raises SourceError when none or several match.
    """
    if not inputs:
        raise SourceError("no input device is there: plug one in; a service needs the group `audio`")
    if device is None:
        return _default(inputs)
    wanted = device.strip().casefold()
    if not wanted or wanted.isdecimal():
        raise SourceError(
            f"device {device!r}: numbers change when devices come and go, use a part of the name; {_LISTING}"
        )
    found = [each for each in inputs if wanted in _whole_names(each)]
    found = found or [each for each in inputs if any(wanted in part for part in _searched(each))]
    if not found:
        raise SourceError(
            f"device {device!r} is not there, or held by another program "
            f"(there are {_names(inputs)}); {_LISTING}"
        )
    if len(found) > 1:
        raise SourceError(
            f"device {device!r} matches {len(found)} inputs ({_names(found)}): use a longer part; {_LISTING}"
        )
    return found[0]


def selector(device: InputDevice, inputs: Sequence[InputDevice]) -> str | None:
    """Return the `device:` string to write for exactly this input, the most lasting one; None without any."""
    for candidate in _candidates(device):
        try:
            if match(candidate, inputs) == device:
                return candidate
        except SourceError:
            continue
    return None


def _default(inputs: Sequence[InputDevice]) -> InputDevice:
    for each in inputs:
        if each.is_default:
            return each
    raise SourceError(f"the system has no default input: set `device` to one of {_names(inputs)}; {_LISTING}")


def _candidates(device: InputDevice) -> Iterator[str]:
    # A card's number changes, so the name without it is the better choice.
    yield _ALSA_ADDRESS.sub("", device.name).strip(" :-")
    if device.card is not None:
        yield device.card
    if device.address is not None:
        yield device.address
    yield device.name
    yield device.label


def _whole_names(device: InputDevice) -> set[str]:
    names = (device.name, device.label, device.card, device.address)
    return {name.casefold() for name in names if name is not None}


def _searched(device: InputDevice) -> tuple[str, ...]:
    return device.label.casefold(), (device.address or "").casefold()


def _names(inputs: Sequence[InputDevice]) -> str:
    unique = len({each.name for each in inputs}) == len(inputs)
    shown = ", ".join(repr(each.name if unique else each.label) for each in inputs[:8])
    return f"{shown} and {len(inputs) - 8} more" if len(inputs) > 8 else shown
