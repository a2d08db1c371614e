"""The page's search: over HTTP, in a browser, and before a daemon that keeps a history."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio
from chromium import CHROMIUM
from daemon import daemon
from page_kit import Shown, at_this_moment, browser, page, shown
from prometheus_client import CollectorRegistry

from monitor.config import HttpConfig
from monitor.web import serve

__all__ = ["browser", "page", "shown"]

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def client():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def test_words_are_answered_with_moments(client):
    site = Shown()
    async with site.serve() as server, client.get(f"{server.url}search.json?words=a dog") as answer:
        assert answer.status == 200
        found = await answer.json()
    assert site.sought == ["a dog"]
    assert [moment["source"] for moment in found["moments"]] == ["kitchen", "garage"]
    assert found["foreign"] == {"clap": 1.25}


@pytest.mark.parametrize("query", ["", "?words=", "?words=%20", "?words=?!", f"?words={'a' * 201}"])
async def test_what_is_no_question_is_refused_with_an_example(client, query):
    site = Shown()
    async with site.serve() as server, client.get(f"{server.url}search.json{query}") as answer:
        assert answer.status == 400
        assert "?words=a train passing" in await answer.text()
    assert site.sought == []


async def test_an_error_is_told_in_a_line_and_other_sites_are_refused(client):
    async with Shown().serve() as server:
        url = f"{server.url}search.json?words=nothing"
        async with client.get(url) as answer:
            assert (answer.status, await answer.text()) == (409, "the history can't be read\n")
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        async with client.get(url, headers=headers) as answer:
            assert answer.status == 403


async def test_one_question_at_a_time(client):
    site, asked, go_on = Shown(), asyncio.Event(), asyncio.Event()

    async def slow(words, since):
        asked.set()
        await go_on.wait()
        return {"moments": (), "hours": 0.0, "foreign": {}}

    site.live = replace(site.live, ask=slow)
    async with site.serve() as server:
        first = asyncio.create_task(client.get(f"{server.url}search.json?words=a"))
        await asyncio.wait_for(asked.wait(), 10)
        async with client.get(f"{server.url}search.json?words=b") as answer:
            assert answer.status == 429
        go_on.set()
        async with await first as answer:
            assert answer.status == 200


async def test_without_a_history_there_is_nothing_to_ask(client):
    site = Shown()
    status = lambda: site.now  # noqa: E731
    live = replace(site.live, ask=None)
    served = serve(HttpConfig(port=0), CollectorRegistry(), status, lambda: (True, ""), live)
    async with served as server, client.get(f"{server.url}search.json?words=a dog") as answer:
        assert answer.status == 404


def seek(words):
    fill = f"document.getElementById('words').value = '{words}'"
    return f"{fill}; document.getElementById('search').requestSubmit()"


def texts(selector):
    return f"[...document.querySelectorAll('{selector}')].map((node) => node.innerText).join('|')"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed")
async def test_what_is_found_is_on_the_timeline_and_in_the_table_until_all_is_wanted_again(page, shown):
    rows, note = (
        "document.querySelectorAll('#events tr').length",
        "document.getElementById('search-note').textContent",
    )
    await page.until("document.getElementById('search').hidden")
    shown.now = replace(at_this_moment(shown.now), searchable=True)
    await page.until("!document.getElementById('search').hidden")
    await page.eval(seek("a dog"))
    await page.until(f"{rows} === 2")
    found = "2 moments in 23.5 h of sound, best first; 1.3 h by another encoder are left out."
    assert await page.eval(note) == found
    best, _ = (await page.eval(texts("#events tr"))).split("|")
    assert "found by search" in best
    assert "0.83" in best
    assert (await page.eval(texts(".lane-name"))).count("a dog") == 2
    assert await page.violations() == []
    await page.eval("document.getElementById('filter').click()")
    await page.until("!document.getElementById('events').innerText.includes('found by search')")
    await page.eval(seek("nothing"))
    await page.until(f'{note} === "Not searched: the history can\'t be read"')
    page.complaints.clear()  # the browser's own line about the answer 409


async def test_a_daemon_with_a_history_finds_what_it_has_heard(tmp_path, client):
    config = {
        "sources": {"room": {"type": "demo"}},
        "events": {"siren": "a siren wailing"},
        "history": {},
    }
    async with daemon(tmp_path, config) as running:
        await running.logged("listening:")
        url = await running.url()

        async def found():
            async with client.get(f"{url}search.json?words=a siren wailing") as answer:
                assert answer.status == 200
                return (await answer.json())["moments"]

        async with asyncio.timeout(60):
            while not (moments := await found()):  # noqa: ASYNC110 - rows reach the disk once a second
                await asyncio.sleep(0.2)
        assert {moment["source"] for moment in moments} == {"room"}
        assert (await running.status())["searchable"] is True
        assert await running.stop() == 0
