"""Strict YAML: text in, plain values out, with the line that each of them stands on.

Narrower than YAML on purpose: no tags, no merge keys, no dates, no octal or base-60 numbers; keys are text
and are given once. `${NAME}`, `${NAME:-default}` and `$$` are replaced in values after parsing, so that what
comes from the environment can't add keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from monitor.errors import ConfigError
from monitor.redact import without_credentials

Tree: TypeAlias = "bool | int | float | str | list[Tree] | dict[str, Tree] | None"
Route = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a file to a value."""

_MAX_DEPTH = 12
_MAX_VALUES = 50_000
_SECRET = re.compile(r"pass|secret|token|credential|headers", re.IGNORECASE)
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("true", "yes", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.title(), word.upper())},
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_REAL = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_SUBSTITUTION = re.compile(
    r"(?P<dollar>\$\$)|\$\{(?P<name>[A-Za-z_]\w*)(:-(?P<default>[^}]*))?\}|(?P<bad>\$\{[^}]*\}?)", re.ASCII
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SYNTAX = {
    "found undefined alias": "a value that begins with * must be in quotes",
    "second occurrence": "a value that begins with & must be in quotes",
    "found character '\\t'": "a tab indents this line; use spaces",
    "found character": "a value can't begin with this character; write the value in quotes",
    "found unexpected end of stream": "a quote is opened here and never closed; close it",
    "found unexpected document separator": "a quote is opened here and never closed; close it",
    "mapping values are not allowed": "a second ': ' in one line; quote the value or mend the indentation",
    "could not find expected ':'": "a key without ': ' after it; add it, or mend the indentation",
    "expected <block end>": "is indented differently from the lines above it; align it",
    "expected ',' or '}', but got '{'": "between { } and [ ] a ${NAME} must be in quotes",
    "expected ',' or ']', but got '{'": "between { } and [ ] a ${NAME} must be in quotes",
    "expected ',' or ']'": "a list opened with [ here lacks a comma or its ]",
    "expected ',' or '}'": "a mapping opened with { here lacks a comma or its }",
    "but found another document": "a second document begins here (---); keep one",
    "found unknown escape character": "an unknown \\ escape in double quotes; use single quotes",
    "expected escape sequence": "an unknown \\ escape in double quotes; use single quotes",
    "sequence entries are not allowed": "a list item (-) can't stand here; give it a line of its own",
}
_INVALID = "isn't valid YAML here; mend the line or the one above"
_BEGINS_EARLIER = ("a quote", "a list opened", "a mapping opened", "a key without")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and how it is written there."""

    file: str
    line: int
    key_line: int
    text: str | None = None
    """A scalar's text, after substitution; None for lists and mappings."""
    quoted: bool = False
    variables: tuple[str, ...] = ()
    """Those that the text came from."""
    secret: bool = False


@dataclass(slots=True)
class Document:
    """The values of one file, or of several laid over each other."""

    tree: Tree
    places: dict[Route, Place]

    @property
    def file(self) -> str:
        """The one that the others are laid over."""
        return self.places[()].file


def dotted(route: Route) -> str:
    """Write a route as a person would: `events.dog_bark.prompts[0]`, nothing below a secret."""
    parts = [
        f"[{key}]"
        if isinstance(key, int)
        else f".{key if re.fullmatch(r'[A-Za-z0-9_-]{1,64}', key) else _brief(key)}"
        for key in route[: _secret_depth(route)]
    ]
    return "".join(parts).removeprefix(".")


def shown(value: Tree, place: Place) -> str:
    """Write a value for an error's text, in one line and without secrets."""
    origin = f" (from {', '.join(f'${{{name}}}' for name in place.variables)})" if place.variables else ""
    if place.secret:
        return f"***{origin}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return f"{_brief(value) if isinstance(value, str) else _cut(place.text or 'null')}{origin}"


def _brief(text: str) -> str:
    # First roughly: a value that was mistyped may hold blanks in its password.
    return repr(_cut(without_credentials(re.sub(r"//.*@", "//***@", text, flags=re.DOTALL))))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def at(place: Place, route: Route, says: str, *, key: bool = False) -> tuple[int, str]:
    """Return a finding's line number, to sort by, and its text."""
    line = place.key_line if key else place.line
    name = f"{dotted(route)}: " if route else ""
    return line, f"{place.file}:{line}: {name}{says}"


def read_yaml(text: str, file: str, environ: Mapping[str, str], *, begin: str) -> Document:
    """Parse a configuration's text; raise ConfigError with a line for every finding.

    `begin` tells how to begin where there is nothing yet.
    """
    node = _compose(text, file)
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value and node.style is None):
        raise ConfigError(f"{file}: is empty; {begin}")
    builder = _Builder(file, environ)
    tree = builder.build(node, (), node.start_mark.line + 1)
    if builder.findings:
        raise ConfigError(*(says for _, says in sorted(builder.findings)))
    return Document(tree, builder.places)


class _Refused(yaml.MarkedYAMLError):
    """Sound YAML that has no place in a configuration."""


class _Composer(yaml.SafeLoader):
    """Composes nodes and nothing more; no object is ever constructed from them."""

    _depth = 0
    _count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            says = "a value that begins with ! must be in quotes; for secrets use ${NAME} or password_file"
            raise _Refused(problem=says, problem_mark=event.start_mark)
        if self._depth > _MAX_DEPTH:
            says = f"is nested more than {_MAX_DEPTH} levels deep; a configuration needs no more"
            raise _Refused(problem=says, problem_mark=event.start_mark)
        self._count += 1
        if self._count > _MAX_VALUES:
            says = f"is value number {_MAX_VALUES}; a configuration needs no more"
            raise _Refused(problem=says, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        composer = _Composer(text)
        try:
            return composer.get_single_node()
        except (ValueError, OverflowError):
            # PyYAML's scanner lets an impossible \U escape or %YAML version through to chr() and int().
            raise ConfigError(f"{file}:{composer.line + 1}: {_INVALID}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        says = f"holds a control character (code {error.character:#04x}); remove it"
        raise ConfigError(f"{file}:{line}: {says}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_error(error, file)) from None


def _syntax_error(error: yaml.MarkedYAMLError, file: str) -> str:
    """Say what is wrong without quoting the file: the text beside a slip is often a password."""
    problem = error.problem or ""
    says = problem if isinstance(error, _Refused) else _INVALID
    says = next((plain for start, plain in _SYNTAX.items() if problem.startswith(start)), says)
    mark = error.problem_mark
    if error.context_mark is not None and (mark is None or says.startswith(_BEGINS_EARLIER)):
        mark = error.context_mark
    return f"{file}:{mark.line + 1}: {says}" if mark else f"{file}: {says}"


@dataclass(slots=True)
class _Builder:
    """Turns nodes into values, and notes where each of them stands."""

    file: str
    environ: Mapping[str, str]
    places: dict[Route, Place] = field(default_factory=dict)
    findings: list[tuple[int, str]] = field(default_factory=list)

    def build(self, node: yaml.Node, route: Route, key_line: int) -> Tree:
        # Both bounds are met again here, because aliases repeat values, and may even hold themselves.
        if len(route) > _MAX_DEPTH or len(self.places) >= _MAX_VALUES:
            raise ConfigError(f"{self.file}:{key_line}: *aliases make this too large; write it out")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, route, key_line)
        self.places[route] = Place(self.file, key_line, key_line)
        if isinstance(node, yaml.MappingNode):
            items = self._items(node, route)
            return {key: self.build(value, (*route, key), line) for key, value, line in items}
        return [
            self.build(item, (*route, index), item.start_mark.line + 1)
            for index, item in enumerate(node.value)
        ]

    def _items(self, node: yaml.MappingNode, route: Route) -> Iterator[tuple[str, yaml.Node, int]]:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            place = Place(self.file, line, line)
            if not isinstance(key_node, yaml.ScalarNode):
                self._find(place, route, "a key must be plain text, not a list or mapping")
                continue
            key = key_node.value
            if key_node.style is None and key == "<<":
                self._find(place, route, "merge keys (<<) aren't supported; write the keys out")
            elif key_node.style is None and not isinstance(typed(key), str):
                known_as = meaning(typed(key))
                name = "***" if _secret_depth(route) is not None else key
                says = f'the key {name or "(nothing)"} is {known_as} to YAML; write it in quotes: "{name}"'
                self._find(place, route, says)
            elif _CONTROL.search(key):
                self._find(place, (*route, key), "the key holds a control character; remove it")
            elif key in lines:
                self._find(place, (*route, key), f"is given twice (first on line {lines[key]}); keep one")
            else:
                lines[key] = line
                yield key, value_node, line

    def _scalar(self, node: yaml.ScalarNode, route: Route, key_line: int) -> Tree:
        line = node.start_mark.line + 1
        secret = _secret_depth(route) is not None
        place = Place(self.file, line, key_line, "", quoted=node.style is not None, secret=secret)
        if not node.value and not place.quoted:
            self._find(place, route, "has no value; give it one, or remove the line")
        text, names = self._substitute(node.value, route, place)
        if _CONTROL.search(text):
            self._find(place, route, "holds a control character; remove it")
        self.places[route] = Place(
            self.file,
            line,
            key_line,
            text,
            quoted=place.quoted,
            variables=tuple(names),
            secret=secret or any(_is_secret(name) for name in names),
        )
        return text if place.quoted else typed(text)

    def _substitute(self, text: str, route: Route, place: Place) -> tuple[str, list[str]]:
        """Return the text with its variables' values, and their names."""
        names = []

        def value_of(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            if match["bad"]:
                says = "holds a ${ that isn't ${NAME} or ${NAME:-default}; write $$ for a plain dollar"
                self._find(place, route, says)
                return ""
            name, default = match["name"], match["default"]
            names.append(name)
            value = self.environ.get(name)
            if value is None and default is None:
                says = f"the environment variable {name} isn't set; set it, or write ${{{name}:-default}}"
                self._find(place, route, says)
            return value or default or ""

        return _SUBSTITUTION.sub(value_of, text), names

    def _find(self, place: Place, route: Route, says: str) -> None:
        self.findings.append(at(place, route, says))


def _secret_depth(route: Route) -> int | None:
    """Length of the route up to a key whose value is secret; None where there is none."""
    named_by_user = {0, 1} if route[:1] in {("sources",), ("events",)} else set()
    depths = (depth for depth, key in enumerate(route, 1) if depth - 1 not in named_by_user)
    return next((depth for depth in depths if _is_secret(str(route[depth - 1]))), None)


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(key)) and not key.lower().endswith("_file")


def typed(text: str) -> Tree:
    """Give plain text the type that people mean: null, true or false, a number, or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        # Longer ones would only meet Python's limit on digits; as a float they are just out of bounds.
        return int(text) if len(text) < 20 else float(text)
    if _REAL.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def meaning(value: Tree) -> str:
    """Say what YAML takes a plain word for."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else "a number"
