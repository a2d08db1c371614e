"""How glibc's heap deals with large blocks; elsewhere, nothing happens."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

# M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX of malloc.h.
_TRIM, _MAP, _ARENAS = -1, -3, -8
_LARGE = 256 << 10
_LARGEST = 32 << 20


def share_one_arena() -> None:
    """Have all threads take from the same heap; call before there are any.

    Else each keeps what it once needed most. They wait for each other at the interpreter's lock anyway.
    """
    _set(_ARENAS, 1)


@contextlib.contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Map every large block by itself, so that it's gone when freed, and leaves no holes: for loading.

    Afterwards they come from the heap again, as glibc has it after a while: what every window needs anew
    would take 40 % longer.
    """
    _set(_MAP, _LARGE)
    try:
        yield
    finally:
        _set(_MAP, _LARGEST)
        _set(_TRIM, 2 * _LARGEST)


def trim() -> None:
    """Give freed memory back to the system."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _set(parameter: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(parameter, value)
