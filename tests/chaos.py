"""Break everything around a real daemon, at random and repeatably, and check that no event was lost.

    python tests/chaos.py --minutes 60 --seed 1 --report chaos.json

Three lanes of faults run beside each other: the broker and the way to it, the sources, and the daemon with
its machine. Each lane goes through a shuffled bag of its faults again and again: a pause, a fault held for a
while, the wait for the recovery. At the end everything is healed, the daemon is stopped, and the three
records of `chaos_ledger` are compared. Exit status: 0 without a violation, else 1.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from chaos_report import merged, table
from chaos_run import Run
from chaos_world import open_world

_STATUS_PERIOD_SECONDS = 5.0


async def _progress(run: Run) -> None:
    began = time.monotonic()
    live = sys.stderr.isatty()
    told = 0
    while True:
        await asyncio.sleep(_STATUS_PERIOD_SECONDS if live else 60.0)
        ledger = run.world.ledger
        text = (
            f"{(time.monotonic() - began) / 60.0:5.1f} of {run.minutes:g} minutes, "
            f"{len(run.injected)} faults, {len(ledger.decided)} decided, "
            f"{len(ledger.outstanding())} waiting, {len(ledger.problems)} problems"
        )
        for problem in ledger.problems[told:]:
            sys.stderr.write(f"\rproblem: {problem}\033[K\n" if live else f"problem: {problem}\n")
        told = len(ledger.problems)
        sys.stderr.write(f"\r{text}\033[K" if live else f"{text}\n")
        sys.stderr.flush()


async def chaos(minutes: float, seed: int, folder: Path) -> dict:
    """Run, and return the report."""
    async with open_world(folder, seed) as world:
        run = Run(world, seed, minutes)
        showing = asyncio.create_task(_progress(run))
        try:
            await run.run()
        finally:
            showing.cancel()
        return run.report()


async def side_by_side(arguments: argparse.Namespace, folder: Path) -> dict:
    """Run every seed in a process of its own at the same time, and return their reports as one."""

    async def one(seed: int) -> dict:
        report = folder / f"{seed}.json"
        options = ["--minutes", str(arguments.minutes), "--seed", str(seed), "--report", str(report)]
        if arguments.keep:
            options += ["--keep", str(folder / str(seed))]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, *options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        assert process.stderr
        try:
            async for line in process.stderr:
                sys.stderr.write(f"seed {seed}: {line.decode()}" if line.strip() else "")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()  # if this one is ended early
            await process.wait()
        return json.loads(report.read_text())  # where there is none, its last lines have told why

    return merged(await asyncio.gather(*map(one, arguments.seed)))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Break everything around a real daemon and check that no event is lost.",
        epilog="example: python tests/chaos.py --minutes 60 --seed 1 2 3 4 5 --report chaos.json",
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[1],
        help="the same seed injects the same faults in order; several run side by side",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there and leave the logs")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it leaves nothing running
    with contextlib.ExitStack() as stack:
        if arguments.keep:
            folder = arguments.keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        if len(arguments.seed) > 1:
            report = asyncio.run(side_by_side(arguments, folder))
        else:
            report = asyncio.run(chaos(arguments.minutes, arguments.seed[0], folder))
    if arguments.report:
        arguments.report.write_text(json.dumps(report, indent=1) + "\n")
    sys.stderr.write("\n")
    print(table(report))  # noqa: T201
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
