"""Adding an event's examples to the text of a configuration, with every comment and all formatting kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

_Pair = tuple[yaml.Node, yaml.Node]


def with_examples(text: str, name: str, paths: Sequence[str], prompts: Sequence[str]) -> str | None:
    """Return the text with examples, and where the event is new its prompts, added; None where it can't.

    Whoever uses the result should load it first: anchors and merge keys can make it mean something else.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    events = _value(top, "events")
    if not isinstance(events, yaml.MappingNode) or not events.value:
        return None
    event = _value(events, name)
    if event is None:
        keys = {"prompts": prompts, "examples": paths}
        inside = ", ".join(f"{key}: {_flow(items)}" for key, items in keys.items() if items)
        return _with_entry(text, events, f"{name}: {{{inside}}}", newline)
    if isinstance(event, yaml.MappingNode):
        return _with_examples_of(text, event, paths, newline)
    start, end = event.start_mark.index, _end(event)
    if isinstance(event, yaml.SequenceNode) and not event.flow_style:
        indent = " " * event.start_mark.column
        return (
            f"{text[:start]}examples: {_flow(paths)}{newline}{indent}prompts:{newline}{indent}{text[start:]}"
        )
    worded = json.dumps(event.value, ensure_ascii=False) if _is_scalar(event) else text[start:end]
    return f"{text[:start]}{{prompts: {worded}, examples: {_flow(paths)}}}{text[end:]}"


def _with_examples_of(text: str, event: yaml.MappingNode, paths: Sequence[str], newline: str) -> str | None:
    examples = _value(event, "examples")
    if examples is None:
        start = event.start_mark.index
        if event.flow_style:
            comma = ", " if event.value else ""
            return f"{text[: start + 1]}examples: {_flow(paths)}{comma}{text[start + 1 :]}"
        return _with_entry(text, event, f"examples: {_flow(paths)}", newline)
    start, end = examples.start_mark.index, _end(examples)
    if _is_scalar(examples):
        return f"{text[:start]}{_flow([examples.value, *paths])}{text[end:]}"
    if not isinstance(examples, yaml.SequenceNode) or not examples.value:
        return None
    last = _end(examples.value[-1])
    if examples.flow_style:
        return f"{text[:last]}, {', '.join(map(_quoted, paths))}{text[last:]}"
    indent = " " * examples.start_mark.column
    return _with_lines(text, last, [f"{indent}- {_quoted(path)}" for path in paths], newline)


def _with_entry(text: str, mapping: yaml.MappingNode, entry: str, newline: str) -> str:
    """Add an entry after the last of a mapping."""
    last = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return f"{text[:last]}, {entry}{text[last:]}"
    return _with_lines(text, last, [" " * mapping.start_mark.column + entry], newline)


def _with_lines(text: str, index: int, lines: Sequence[str], newline: str) -> str:
    """Add lines after the one that `index` lies in or at whose end it lies."""
    if index and text[index - 1] == "\n":  # a block scalar ends where the next line begins
        index -= 1
    cut = text.find("\n", index)
    added = newline.join(lines)
    if cut < 0:
        return f"{text}{newline}{added}{newline}"
    return f"{text[: cut + 1]}{added}{newline}{text[cut + 1 :]}"


def _value(mapping: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(mapping, yaml.MappingNode):
        return None
    pairs: list[_Pair] = mapping.value
    return next((value for name, value in pairs if name.value == key), None)


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends; YAML lets a block reach to the next token, over comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def _flow(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _quoted(text: str) -> str:
    """Write text as YAML takes it back, with no variable in it."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)
