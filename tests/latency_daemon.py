"""`sound-monitor run` that also writes every window's latency to a file."""

import sys
import time
from pathlib import Path

from monitor.daemon import run_daemon
from monitor.metrics import Metrics

_told = Metrics.latency


def main(config: str, log: str) -> int:
    with Path(log).open("w", buffering=1) as file:

        def latency(self: Metrics, seconds: float) -> None:
            file.write(f"{time.time():.3f}\t{seconds:.6f}\n")
            _told(self, seconds)

        Metrics.latency = latency
        return run_daemon(Path(config), [])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
