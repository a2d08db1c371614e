"""What the log looks like: one line a record, whatever is in it."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from monitor.config import LogConfig
from monitor.redact import one_line

# Libraries that tell at INFO what their users tell in their own words.
_CHATTY = ("aiohttp", "asyncio", "httpx", "huggingface_hub", "transformers")


def setup(config: LogConfig) -> None:
    """Log to standard error as configured; under systemd without a time, which the journal has."""
    handler = logging.StreamHandler(sys.stderr)
    in_journal = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter(in_journal=in_journal))
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.captureWarnings(capture=True)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 warning monitor.listening: text`; only a traceback takes more lines, indented."""

    def __init__(self, *, in_journal: bool) -> None:
        super().__init__()
        self._in_journal = in_journal

    def format(self, record: logging.LogRecord) -> str:
        head = f"{record.levelname.lower()} {record.name.removeprefix('monitor.')}"
        if not self._in_journal:
            head = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))} {head}"
        text = f"{head}: {one_line(record.getMessage())}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).split("\n")
            text += "".join(f"\n  {one_line(line)}" for line in lines)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, logger, message, an event's fields, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "event"):
            fields["event"] = record.event
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)
