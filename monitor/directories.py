"""Where the monitor keeps what must outlive the process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from monitor.config import Config, HistoryConfig


def default_state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a configuration that names none: systemd's, or the user's own."""
    named = environ.get("STATE_DIRECTORY", "").split(":")[0]
    home = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(named or Path(home) / "sound-monitor")


def state_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the daemon keeps its state."""
    return config.state_directory or default_state_directory(environ)


def history_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the history is, or would be if there was one."""
    return state_directory(config, environ) / (config.history or HistoryConfig()).directory
