"""A real headless Chromium, driven over its DevTools protocol: enough to look at a page and ask it things."""

import asyncio
import base64
import contextlib
import itertools
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._session: str | None = None
        self._loads = 0
        self.complaints: list[str] = []
        """What the page logged as an error, broken rules of its content security policy included."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Page.loadEventFired":
            self._loads += 1
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", params)))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def start(self) -> Self:
        target = await self.call("Target.createTarget", url="about:blank")
        session = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def open(self, url: str, loads: int = 1) -> None:
        """Go to an address; `loads` is 2 where its page leads on to another by itself."""
        wanted = self._loads + loads
        async with asyncio.timeout(60):
            await self.call("Page.navigate", url=url)
            while self._loads < wanted:
                self._note(await self._socket.receive_json())

    async def size(self, width: int, height: int, scale: float = 1.0) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    async def prefer(self, **features: str) -> None:
        """Set media features, such as `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=wanted)

    async def eval(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 20.0) -> None:
        """Evaluate until it is true."""
        came_true = await self.eval(
            f"""new Promise((resolve) => {{
                const end = Date.now() + {seconds * 1000};
                const look = () => {{
                    const value = Boolean({expression});
                    if (value || Date.now() > end) resolve(value);
                    else setTimeout(look, 50);
                }};
                look();
            }})"""
        )
        assert came_true, (
            f"never true: {expression}; the page says:\n{await self.eval('document.body.innerText')}"
        )

    async def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """Start Chromium with a profile of its own and give one tab; all of it is gone afterwards."""
    assert CHROMIUM is not None
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",  # tests run as root in containers, where Chromium's sandbox can't
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(60):
                endpoint = await _endpoint(process)
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(endpoint, max_msg_size=0) as socket,
            ):
                yield await Page(socket).start()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # Read to the end, so that the transport is closed before the loop is.
            await process.communicate()


async def _endpoint(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(rb"ws://\S+", line):
            return found[0].decode()
    raise RuntimeError("chromium ended before it listened")
