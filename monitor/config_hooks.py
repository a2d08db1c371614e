"""The configuration's shape: whom to tell of events besides the broker."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from monitor.fields import Between, FilePath, Form, Number, Section, Slugs, Text, finding

Phases = Annotated[
    tuple[Literal["start", "end"], ...],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value,
        json_schema_input_type=Literal["start", "end"]
        | Annotated[list[Literal["start", "end"]], Field(min_length=1)],
    ),
    Field(min_length=1),
]
_FORBIDDEN = {"content-type", "content-length", "transfer-encoding", "host", "connection"}


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or any(character.isspace() for character in value):
        raise finding("is not an address; write it whole, such as https://example.org/hook")
    return value


def _header(value: str) -> str:
    if value.lower() in _FORBIDDEN:
        raise finding("is set by the monitor itself; remove it")
    return value


Url = Annotated[Text, AfterValidator(_url)]
HeaderName = Annotated[
    str,
    Form(r"[A-Za-z0-9-]{1,64}", "is no header's name (letters, 0-9 and -)"),
    AfterValidator(_header),
]
HeaderValue = Annotated[
    str,
    Field(max_length=1000),
    Form(
        r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?",
        "is no header's value; write it in ASCII, in one line, without blanks at its ends",
    ),
]


class HookConfig(Section):
    """Which events are told, and how long the telling may take."""

    events: Slugs | None = None
    """Of these events only; default: all."""
    sources: Slugs | None = None
    """Of these sources only; default: all."""
    phases: Phases = ("start", "end")
    """`start`, `end` or both."""
    timeout_seconds: Annotated[Number, Between(1, 300)] = 10.0
    """Longer than this counts as failed."""


class WebhookConfig(HookConfig):
    """An address that gets every event as JSON by POST, again and again until it takes it."""

    url: Url = Field(repr=False)
    headers: dict[HeaderName, HeaderValue] = Field(default={}, repr=False, max_length=20)
    """Sent along; keep secrets in `${VARIABLES}`, or use `token_file`."""
    token_file: FilePath | None = None
    """The first line of this file is sent as `Authorization: Bearer`."""


class CommandConfig(HookConfig):
    """A program that is run once for every event, which it gets as JSON on its standard input."""

    run: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    """The program and its arguments, a list; there is no shell."""
