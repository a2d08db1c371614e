"""Sources that share a device: never two captures of it at once, however sources come and go."""

import asyncio
import contextlib

import pytest

from monitor.config import MicrophoneSource
from monitor.errors import SourceError
from monitor.sources.helper import Opened
from monitor.sources.sharing import Capture, Captures


class Device:
    """Has two channels and can be held once; a test says when it lets go."""

    def __init__(self):
        self.holders = self.most_holders = 0
        self.opened = []
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()

    async def run(self, capture):
        """Stand in for a capture's process."""
        await asyncio.sleep(0)
        self.holders += 1
        self.most_holders = max(self.most_holders, self.holders)
        channels = capture._channels()
        self.opened.append(channels)
        capture.opened = Opened("room_mic", 48_000, channels, 2, 960)
        for listening in capture._listeners:
            listening.wake()
        try:
            await asyncio.Event().wait()
        finally:
            self.closing.set()
            await self.may_close.wait()
            self.holders -= 1


@pytest.fixture
def device(monkeypatch):
    made = Device()

    async def run(capture):
        await made.run(capture)

    monkeypatch.setattr(Capture, "_run", run)
    return made


@pytest.fixture
def captures():
    return Captures()


def listen(captures, channel):
    return captures.listen(MicrophoneSource(device="room_mic", channel=channel), 48_000)


async def settle():
    """Let everybody do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_sources_that_come_while_a_device_is_opened_anew_share_it(device, captures):
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(listen(captures, 1))
        coming = [asyncio.create_task(stack.enter_async_context(listen(captures, 2))) for _ in range(2)]
        await device.closing.wait()
        coming.append(asyncio.create_task(stack.enter_async_context(listen(captures, 1))))
        await settle()
        waited = not any(task.done() for task in coming)
        device.may_close.set()
        assert waited
        await asyncio.gather(*coming)
        with pytest.raises(SourceError, match="opened anew, for channel 2 too"):
            await first.packet()
        assert device.opened == [1, 2]
    assert (device.holders, device.most_holders) == (0, 1)


async def test_a_source_that_comes_while_the_last_one_goes_waits_for_the_device(device, captures):
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(listen(captures, 1))
        going = asyncio.create_task(stack.pop_all().aclose())
        await device.closing.wait()
        coming = asyncio.create_task(stack.enter_async_context(listen(captures, 1)))
        await settle()
        waited = not coming.done()
        device.may_close.set()
        assert waited
        await asyncio.gather(going, coming)
        assert device.opened == [1, 1]
    assert (device.holders, device.most_holders) == (0, 1)
