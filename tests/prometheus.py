"""A real Prometheus on a free port, scraping every second, for as long as a block lasts."""

import asyncio
import contextlib
import json
import re
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import aiohttp

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")


@dataclass(frozen=True)
class Series:
    """One result of an instant query."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """A running server's HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def query(self, expression: str) -> list[Series]:
        """Evaluate an expression that gives a vector or a scalar, now."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise RuntimeError(f"{expression}: {answer['error']}")
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [Series({}, float(result[1]))]
        return [Series(each["metric"], float(each["value"][1])) for each in result]

    async def until(
        self, expression: str, holds: Callable[[list[Series]], object] = bool, seconds: float = 20.0
    ) -> list[Series]:
        """Query until `holds(result)` (default: there is data) and return the result."""
        result: list[Series] = []
        pause = asyncio.Event()  # never set: Prometheus tells nobody when it has scraped
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds(result := await self.query(expression)):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(pause.wait(), 0.1)
                return result
        raise AssertionError(f"never as wanted in {seconds} s: {expression} is {result}")


@contextlib.asynccontextmanager
async def prometheus(
    targets: Sequence[str], rules: Sequence[Path] = (), scrape: Mapping[str, object] = MappingProxyType({})
) -> AsyncIterator[Prometheus]:
    """Scrape `targets` ("host:port") as job sound-monitor; evaluate `rules` files every second.

    scrape: further settings of the job, such as `authorization`.
    """
    assert PROMETHEUS is not None
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path.resolve()) for path in rules],
        "scrape_configs": [
            {"job_name": "sound-monitor", "static_configs": [{"targets": list(targets)}], **scrape},
        ],
    }
    with TemporaryDirectory(prefix="prometheus-") as folder:
        config_file = Path(folder, "prometheus.yml")
        await asyncio.to_thread(config_file.write_text, json.dumps(config))  # JSON is YAML
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={config_file}",
            f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(60):
                url = await _ready(process.stderr)
            drain = asyncio.create_task(_drain(process.stderr))
            try:
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
                    yield Prometheus(session, url)
            finally:
                process.terminate()
                await drain
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await process.communicate()


async def _ready(log: asyncio.StreamReader) -> str:
    address = None
    last: deque[str] = deque(maxlen=5)
    async for raw in log:
        line = raw.decode(errors="replace")
        last.append(line)
        if found := re.search(r'msg="Listening on" address=(\S+)', line):
            address = found[1]
        if address and "ready to receive web requests" in line:
            return f"http://{address}"
    raise RuntimeError("prometheus ended before it was ready:\n" + "".join(last))


async def _drain(log: asyncio.StreamReader) -> None:
    async for _ in log:
        pass
