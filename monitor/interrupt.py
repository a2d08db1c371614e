"""Ctrl-C ends a command at once, without a word, until there is something to leave in order.

A KeyboardInterrupt amid an import comes out as whatever the half-made module makes of it, or is swallowed.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing slow is imported before Ctrl-C is seen to
    from collections.abc import Coroutine
    from types import FrameType
    from typing import Any, TypeVar

    _T = TypeVar("_T")

INTERRUPTED = 130


def end_at_once() -> None:
    """Let Ctrl-C end the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored in the background
        signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from here on."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Do as `asyncio.run`, which cancels the coroutine on Ctrl-C."""
    import asyncio  # noqa: PLC0415

    with asyncio.Runner() as runner:
        runner.get_loop()
        end_in_order()
        return runner.run(coroutine)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
