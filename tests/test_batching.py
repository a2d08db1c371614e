"""Windows of all sources become batches; live the newest wins, lossless none is lost."""

import asyncio

import numpy as np

from monitor.batching import Batcher
from monitor.types import Window


def window(source, position=0):
    return Window(source, position, 100, np.zeros(10, np.float32), 0.0, 1.0, -20.0)


async def test_a_newer_window_of_a_source_replaces_the_pending_one():
    batcher = Batcher(8, gather_seconds=0)
    assert not await batcher.offer(window("a", 1))
    assert await batcher.offer(window("a", 2))
    assert not await batcher.offer(window("b", 1))
    assert [(w.source, w.position) for w in await batcher.take()] == [("a", 2), ("b", 1)]


async def test_a_batch_is_never_larger_than_allowed_and_the_rest_comes_next():
    batcher = Batcher(2, gather_seconds=0)
    for source in "abc":
        await batcher.offer(window(source))
    assert [w.source for w in await batcher.take()] == ["a", "b"]
    assert [w.source for w in await batcher.take()] == ["c"]


async def test_lossless_put_waits_until_its_window_has_been_taken():
    batcher = Batcher(8, gather_seconds=0)
    positions = list(range(20))

    async def feed(source):
        for position in positions:
            await batcher.put(window(source, position))

    feeders = [asyncio.create_task(feed(source)) for source in "ab"]
    seen = {"a": [], "b": []}
    while any(len(each) < len(positions) for each in seen.values()):
        for each in await batcher.take():
            seen[each.source].append(each.position)
        await batcher.done()
    await asyncio.gather(*feeders)
    assert seen == {"a": positions, "b": positions}


async def test_drain_returns_only_when_the_source_has_nothing_pending_or_being_scored():
    batcher = Batcher(8, gather_seconds=0)
    await batcher.drain("a")
    await batcher.offer(window("a"))
    drained = asyncio.create_task(batcher.drain("a"))
    await batcher.take()
    await asyncio.sleep(0)
    assert not drained.done()
    await batcher.done()
    await drained


async def test_a_batch_waits_a_moment_for_the_other_sources():
    batcher = Batcher(8, gather_seconds=30)
    batcher.sources = 2
    taken = asyncio.create_task(batcher.take())
    await batcher.offer(window("a"))
    await batcher.offer(window("b"))
    assert {w.source for w in await asyncio.wait_for(taken, 5)} == {"a", "b"}
