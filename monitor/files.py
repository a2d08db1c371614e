"""Files: written whole or not at all, and told apart though they have several names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def each_once(paths: Iterable[Path]) -> list[Path]:
    """Leave out every path that leads to the same file as one before it."""
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(os.path.realpath(path), path)
    return list(first.values())


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Put the text in the file's place at once, on the disk when this returns; raises OSError."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        partial = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            partial.chmod(mode)
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
