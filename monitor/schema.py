"""The configuration's JSON Schema, for editors: `python -m monitor.schema > config/schema.json`."""

from __future__ import annotations

import json
import sys
from typing import Any

from monitor.config import Config

_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "from the environment: ${NAME}"}


def json_schema() -> dict[str, Any]:
    """Describe what the loader takes: short forms, and variables in place of numbers, included."""
    schema = Config.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_with_variables(schema),
        "title": "sound-monitor configuration",
    }


def _with_variables(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_variables(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if _is_narrow(schema):
        notes = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        plain = {key: value for key, value in schema.items() if key not in notes}
        return {**notes, "anyOf": [plain, _VARIABLE]}
    strict = {"additionalProperties": False} if "patternProperties" in schema else {}
    return {key: _with_variables(value) for key, value in schema.items()} | strict


def _is_narrow(schema: dict[str, Any]) -> bool:
    """Whether it takes less than any text; a property may be called `type` or `pattern`, too."""
    return (
        schema.get("type") in ("number", "integer", "boolean")
        or isinstance(schema.get("enum"), list)
        or isinstance(schema.get("pattern"), str)
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
