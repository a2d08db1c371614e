"""One process of the daemon in a chaos run: its log, its end, and what it takes."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from chaos_ledger import Ledger

START_SECONDS = 60.0
_PATIENCE_SECONDS = 15.0
"""The daemon's own, until it says that something makes no progress."""
_WARM_UP_SECONDS = 60.0
_EXPECTED_ERRORS = (
    "the configuration stays as it was",
    "outbox ",
    "sound-monitor: ",
)


@dataclass
class Sample:
    """What a process takes at a time."""

    seconds: float
    """Since it began to listen."""
    rss_mib: float
    handles: int
    children: int
    kept_seconds: float
    """In which it was kept from running: stopped, or another process had the processor."""


class Life:
    """One process of the daemon, from its start to its end."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, ledger: Ledger, folder: Path
    ) -> None:
        self.number = number
        self.process = process
        self.lines: list[dict] = []
        self.raw: list[str] = []
        """Lines that aren't the log's."""
        self.url: str | None = None
        self.listening_at: float | None = None
        self.stopping = False
        """The harness has asked for its end."""
        self.samples: list[Sample] = []
        self._ledger = ledger
        self._path = folder / f"life-{number}.log"
        self._stopped_at: float | None = None
        self._stopped_seconds = self._waited_seconds = 0.0
        self._waited_by_thread: dict[str, float] = {}
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr
        with self._path.open("wb", buffering=0) as copy:
            async for data in self.process.stderr:
                copy.write(data)
                self._take(data.decode())
                async with self._news:
                    self._news.notify_all()
        async with self._news:
            self.lines.append({"message": "(end of the log)", "level": "info", "logger": ""})
            self._news.notify_all()

    def _take(self, text: str) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            if text.endswith("\n"):  # else torn by a kill
                self.raw.append(text.rstrip())
            return
        line["read_at"] = time.monotonic()
        line["kept_seconds"] = self.kept_seconds()
        self.lines.append(line)
        message = line["message"]
        if "event" in line:
            self._ledger.decide(line["event"], self.number)
        elif message.startswith("page and metrics at "):
            self.url = message.rsplit(" ", 1)[1]
        elif message.startswith("listening: "):
            self.listening_at = time.monotonic()

    async def logged(self, text: str, since: int = 0, seconds: float = START_SECONDS) -> bool:
        """Wait for a message with `text`; return whether it came before the log ended."""

        def found() -> bool:
            return any(text in line["message"] for line in self.lines[since:])

        def over() -> bool:
            return bool(self.lines) and self.lines[-1]["message"] == "(end of the log)"

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: found() or over())
        return found()

    async def ended(self, seconds: float) -> int | None:
        """Return the exit status; None when it doesn't end though it could have run for so long."""
        began, kept = time.monotonic(), self.kept_seconds()
        ending = asyncio.gather(self.process.wait(), self._reading)
        while not (await asyncio.wait([ending], timeout=1.0))[0]:
            if time.monotonic() - began - (self.kept_seconds() - kept) > seconds:
                ending.cancel()
                return None
        return self.process.returncode

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        if number == signal.SIGSTOP and self._stopped_at is None:
            self._stopped_at = time.monotonic()
        elif number == signal.SIGCONT and self._stopped_at is not None:
            self._stopped_seconds += time.monotonic() - self._stopped_at
            self._stopped_at = None

    def sample(self) -> None:
        """Take down memory and handles."""
        if self.listening_at is None:
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            self.samples.append(
                Sample(
                    time.monotonic() - self.listening_at,
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    len(process.children(recursive=True)),
                    self.kept_seconds(),
                )
            )

    def kept_seconds(self) -> float:
        """Return for how long it was kept from running so far: stopped, or without a processor."""
        stopped = self._stopped_seconds
        if self._stopped_at is not None:
            stopped += time.monotonic() - self._stopped_at
        for thread, waited in _waited_seconds(self.process.pid).items():
            before = self._waited_by_thread.get(thread, 0.0)
            self._waited_seconds += waited - before if waited >= before else waited  # else a new one
            self._waited_by_thread[thread] = waited
        return stopped + self._waited_seconds

    def could_progress(self, line: dict) -> bool:
        """Tell whether it could have run for long enough in the time of which a line of its log complains."""
        assert self.listening_at is not None
        began = line["read_at"] - self.listening_at - float(line["message"].split()[-2])
        before = [sample.kept_seconds for sample in self.samples if sample.seconds <= began]
        kept = line["kept_seconds"] - (before[-1] if before else 0.0)
        return line["read_at"] - self.listening_at - began - kept > _PATIENCE_SECONDS

    def growth(self) -> tuple[float, float, float] | None:
        """Return minutes, MiB and handles gained after the warm-up, between medians of quarters."""
        steady = [sample for sample in self.samples if sample.seconds > _WARM_UP_SECONDS]
        if len(steady) < 24:
            return None
        quarter = len(steady) // 4
        first, last = steady[:quarter], steady[-quarter:]

        def gained(value: Callable[[Sample], float]) -> float:
            return float(np.median([*map(value, last)]) - np.median([*map(value, first)]))

        minutes = (steady[-1].seconds - steady[0].seconds) / 60.0
        return minutes, gained(lambda sample: sample.rss_mib), gained(lambda sample: float(sample.handles))

    def complaints(self) -> list[str]:
        """Return what its log should never have."""
        found = [f"life {self.number}: a traceback: {line}" for line in self.lines if "traceback" in line]
        found += [
            f"life {self.number}: {line['message']}"
            for line in self.lines
            if line["level"] in {"error", "critical"}
            and not line["message"].startswith(_EXPECTED_ERRORS)
            and not (line["message"].startswith("no progress: ") and not self.could_progress(line))
        ]
        return found + [
            f"life {self.number}: {text}" for text in self.raw if not text.startswith(_EXPECTED_ERRORS)
        ]


def _waited_seconds(pid: int) -> dict[str, float]:
    """Return for how long each thread that lives could have run while another process had the processor."""
    waited = {}
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            waited[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return waited
