"""What clips are called below their folder: by it they are written, told from other files, and served."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from monitor.types import Event

CLIP_NAME = re.compile(r"[a-z0-9_]{1,64}/\d{4}-\d\d-\d\d/\d{6}Z_[a-z0-9_]{1,64}_[A-Za-z0-9-]{1,8}\.flac")


def clip_name(event: Event) -> str:
    """Return where an event's clip lies below the folder: `hall/2026-11-22/183000Z_siren_3f2a9c01.flac`."""
    began = datetime.fromtimestamp(event.started_at, UTC)
    return f"{event.source}/{began:%Y-%m-%d}/{began:%H%M%S}Z_{event.name}_{event.id[:8]}.flac"
