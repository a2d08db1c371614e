"""A real headless Chromium, the distribution's, driven by Playwright: to look at a page and ask it things."""

import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from playwright.async_api import ConsoleMessage, async_playwright
from playwright.async_api import Page as Tab

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_GRAVE = {"serious", "critical"}


class Page:
    """One tab."""

    def __init__(self, tab: Tab, devtools: Any) -> None:
        self.tab = tab
        self._devtools = devtools
        self.complaints: list[str] = []
        """What the page logged as an error, broken rules of its content security policy included."""
        self._loads = 0
        tab.on("load", self._count)
        tab.on("console", self._note)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _count(self, _: Tab) -> None:
        self._loads += 1

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Use the DevTools protocol directly."""
        return await self._devtools.send(method, params)

    async def open(self, url: str, loads: int = 1) -> None:
        """Go there and wait until it has loaded, and where it sends the browser on."""
        wanted = self._loads + loads
        await self.tab.goto(url)
        while self._loads < wanted:
            await self.tab.wait_for_event("load")

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
        return await self.tab.evaluate(expression)

    async def until(self, expression: str, seconds: float = 20.0) -> None:
        """Evaluate until it is true; not Playwright's own way, which the page's security policy forbids."""
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

    async def screenshot(self, *, whole: bool = True) -> bytes:
        """Return the page as PNG: all of it, or what is in sight."""
        return await self.tab.screenshot(full_page=whole)

    async def memory(self) -> dict[str, float]:
        """Return what is alive after a garbage collection, by the names of DevTools' metrics."""
        await self.call("HeapProfiler.collectGarbage")
        await self.call("Performance.enable")
        metrics = (await self.call("Performance.getMetrics"))["metrics"]
        return {each["name"]: each["value"] for each in metrics}

    async def violations(self) -> list[str]:
        """Return what axe-core finds serious, a line for each rule with the elements."""
        axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
        await self.eval(axe)
        found = await self.eval("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: "
            + "; ".join(json.dumps(node["target"]) for node in each["nodes"])
            for each in found["violations"]
            if each["impact"] in _GRAVE
        ]


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """Start Chromium with a profile of its own and give one tab; all of it is gone afterwards."""
    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        # Tests run as root in containers, where Chromium's sandbox can't.
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-gpu"], chromium_sandbox=False
        )
        try:
            context = await browser.new_context(no_viewport=True)
            tab = await context.new_page()
            yield Page(tab, await context.new_cdp_session(tab))
        finally:
            await browser.close()
