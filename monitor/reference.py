"""The configuration's reference, from its schema: `python -m monitor.reference > config/REFERENCE.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from monitor.config import Config

_HEAD = """# Every key of the configuration

Made from the schema by `make schema`; [`every-key.yaml`](every-key.yaml) shows the same as YAML. Only
`sources` and `events` are needed. Any value may come from the environment: `${NAME}`, `${NAME:-default}`.
"""
_KINDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}


def reference() -> str:
    """Return it as Markdown: a table for every section."""
    schema = Config.model_json_schema()
    sections: dict[str, dict[str, Any]] = schema.pop("$defs")
    tables = {"The file": schema} | {_title(name): each for name, each in sections.items()}
    parts = [_HEAD]
    parts += [_section(title, each, sections) for title, each in tables.items() if "properties" in each]
    return "\n".join(parts)


def _title(name: str) -> str:
    return name.removesuffix("Config") or name


def _section(title: str, section: dict[str, Any], sections: dict[str, dict[str, Any]]) -> str:
    required = set(section.get("required", ()))
    lines = [f"## {title}", "", section.get("description", ""), "", "| key | takes | default | meaning |"]
    lines.append("|---|---|---|---|")
    for key, value in section["properties"].items():
        default = "(needed)" if key in required else _default(value)
        of_section = sections.get(value.get("$ref", "").rpartition("/")[2], {}).get("description", "")
        meaning = " ".join(value.get("description", of_section).split())
        cells = (f"`{key}`", ", ".join(dict.fromkeys(_takes(value))), default, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(value: dict[str, Any]) -> str:
    if "default" not in value:
        return ""
    default = value["default"]
    if isinstance(default, dict) and default:
        return "its defaults"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _takes(value: dict[str, Any]) -> Iterator[str]:
    """Say in words what a part of the schema takes."""
    if "$ref" in value:
        name = _title(value["$ref"].rpartition("/")[2])
        yield f"[{name}](#{name.lower()})"
    elif "const" in value:
        yield f"`{value['const']}`"
    elif "enum" in value:
        yield from (f"`{each}`" for each in value["enum"])
    elif alternatives := value.get("anyOf") or value.get("oneOf"):
        for alternative in alternatives:
            yield from _takes(alternative)
    elif value.get("type") == "array":
        yield "list of " + " or ".join(dict.fromkeys(_takes(value.get("items", {}))))
    elif value.get("type") == "object":
        yield "mapping of names to " + " or ".join(dict.fromkeys(_of_names(value)))
    elif value.get("type") == "null":
        yield "null"
    else:
        yield _kind(value)


def _of_names(value: dict[str, Any]) -> Iterator[str]:
    inner = [*value.get("patternProperties", {}).values(), value.get("additionalProperties") or {}]
    for each in inner:
        if each and each is not True:
            yield from _takes(each)


def _kind(value: dict[str, Any]) -> str:
    kind = _KINDS.get(str(value.get("type")), "anything")
    if "minimum" in value and "maximum" in value:
        return f"{kind}, {value['minimum']:,.12g} to {value['maximum']:,.12g}"
    return "path" if value.get("format") == "path" else kind


if __name__ == "__main__":
    sys.stdout.write(reference())
