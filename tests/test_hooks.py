"""Webhooks, and what they share with commands: told at least once, in order, and never in anyone's way."""

import asyncio
import json
import sqlite3
import threading
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hook_kit import AT_ONCE, config, event, outlet
from mqtt_kit import until
from prometheus_client import CollectorRegistry

from monitor.errors import CredentialError
from monitor.hooks import HookOutlet, hook_outlets
from monitor.metrics import Metrics
from monitor.outbox import Outbox
from monitor.outbox.file import EventFile
from monitor.sinks.webhook import Webhook
from monitor.types import Phase


class Receiver:
    """A real HTTP server that answers as it is told, then 200."""

    def __init__(self):
        self.answers = []
        self.requests = []
        self.got = asyncio.Event()
        self.release = None
        self.waiting = False

    async def _handle(self, request):
        body = await request.read()
        self.waiting = True
        if self.release is not None:
            await self.release.wait()
        answer = self.answers.pop(0) if self.answers else 200
        self.requests.append((answer, dict(request.headers), json.loads(body)))
        self.got.set()
        headers = {"Location": "/elsewhere"} if answer == 307 else {}
        return web.Response(status=answer, headers=headers)

    async def until(self, count):
        async with asyncio.timeout(20):
            while len(self.requests) < count:
                self.got.clear()
                await self.got.wait()

    def taken(self):
        return [(body["id"], body["phase"]) for answer, _, body in self.requests if answer == 200]


@asynccontextmanager
async def receiver():
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made._handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


async def test_a_webhook_gets_every_event_in_order_with_its_token(tmp_path):
    (tmp_path / "token").write_text("s3cret-token\n")
    async with receiver() as received:
        made = config(
            webhooks={
                "pager": {
                    "url": received.url,
                    "token_file": str(tmp_path / "token"),
                    "headers": {"X-Room": "one"},
                }
            }
        )
        async with outlet(made, tmp_path) as (hook, registry):
            for number in range(5):
                await hook.deliver(event(number))
                await hook.deliver(event(number, Phase.END))
            await received.until(10)
            await asyncio.wait_for(hook.flush(), 10)
        assert received.taken() == [(f"id{n}", phase) for n in range(5) for phase in ("start", "end")]
        _, headers, body = received.requests[1]
        assert headers["Authorization"] == "Bearer s3cret-token"
        assert headers["X-Room"] == "one"
        assert headers["Content-Type"] == "application/json"
        assert headers["Idempotency-Key"] == "id0-end"
        assert body["event"] == "dog"
        assert body["duration_seconds"] == 1.0
        told = {"hook": "webhook pager", "outcome": "delivered"}
        assert registry.get_sample_value("sound_monitor_hooks_total", told) == 10


async def test_a_webhook_that_fails_is_tried_again_and_nothing_overtakes(tmp_path, caplog):
    async with receiver() as received:
        received.answers = [500, 503, 401, 307, 429]
        made = config(webhooks={"pager": {"url": received.url}})
        async with outlet(made, tmp_path) as (hook, registry):
            await hook.deliver(event(1))
            await hook.deliver(event(2))
            await received.until(7)
            await asyncio.wait_for(hook.flush(), 10)
        assert received.taken() == [("id1", "start"), ("id2", "start")]
        failed = {"hook": "webhook pager", "outcome": "failed"}
        assert registry.get_sample_value("sound_monitor_hooks_total", failed) == 5
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert warnings[0].startswith("webhook pager: http://127.0.0.1:")
        assert warnings[0].endswith("answers 500 Internal Server Error; check url and token; trying again")
        assert "/hook" not in warnings[0]


async def test_an_event_that_the_receiver_refuses_is_given_up_and_the_next_is_told(tmp_path, caplog):
    async with receiver() as received:
        received.answers = [422]
        made = config(webhooks={"pager": {"url": received.url}})
        async with outlet(made, tmp_path) as (hook, _):
            await hook.deliver(event(1))
            await hook.deliver(event(2))
            await received.until(2)
        assert received.taken() == [("id2", "start")]
        assert "refuses the event: 422" in caplog.text


async def test_what_waits_for_a_webhook_that_is_away_and_what_is_given_up_shows_in_the_metrics(tmp_path):
    made = config(webhooks={"pager": {"url": "http://127.0.0.1:1/hook"}})
    registry = CollectorRegistry()

    def told(name, **labels):
        return registry.get_sample_value(f"sound_monitor_{name}", {"hook": "webhook pager", **labels})

    async with Outbox(tmp_path / "outbox.db", max_events=3) as kept:
        hook = Webhook(made.webhooks["pager"], None)
        pager = HookOutlet(
            "webhook pager", made.webhooks["pager"], hook, kept, Metrics(registry, made), AT_ONCE
        )
        running = asyncio.create_task(pager.run())
        for number in range(5):
            await pager.deliver(event(number))
        pager.observe()
        running.cancel()
        assert told("hook_events") == 3
        assert told("hook_dropped_total", reason="count") == 2
        assert told("hook_unsaved_events") == 0


async def test_what_a_webhook_has_not_taken_waits_for_the_next_start(tmp_path):
    async with receiver() as received:
        made = config(webhooks={"pager": {"url": "http://127.0.0.1:1/hook"}})
        outbox = tmp_path / "outbox-webhook-pager.db"
        async with Outbox(outbox) as kept:
            away = HookOutlet(
                "webhook pager",
                made.webhooks["pager"],
                Webhook(made.webhooks["pager"], None),
                kept,
                Metrics(CollectorRegistry(), made),
            )
            running = asyncio.create_task(away.run())
            for number in range(3):
                await away.deliver(event(number))
                await away.deliver(event(number, Phase.END))
            running.cancel()
            assert kept.backlog.pending == 6
        made = config(webhooks={"pager": {"url": received.url}})
        async with outlet(made, tmp_path) as _:
            await received.until(6)
        assert received.taken() == [(f"id{n}", phase) for n in range(3) for phase in ("start", "end")]


@pytest.fixture
def failing_disk(monkeypatch):
    """Files whose events can't be read while it is set."""
    failing, read = threading.Event(), EventFile.read

    def read_or_fail(*arguments):
        if failing.is_set():
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return read(*arguments)

    monkeypatch.setattr(EventFile, "read", read_or_fail)
    monkeypatch.setattr("monitor.hooks._POLL_SECONDS", 0.01)
    return failing


async def test_an_event_that_could_not_be_read_is_told_when_the_disk_is_well(tmp_path, failing_disk):
    async with receiver() as received:
        async with outlet(config(webhooks={"pager": {"url": received.url}}), tmp_path) as (hook, _):
            await hook.deliver(event(1))
            await asyncio.wait_for(hook.flush(), 10)
            failing_disk.set()
            await hook.deliver(event(2))
            flushing = asyncio.create_task(hook.flush())
            await until(lambda: hook._outbox._failing)
            assert not flushing.done(), "it can't be read, which doesn't mean that nothing waits"
            failing_disk.clear()
            await asyncio.wait_for(flushing, 10)
        assert received.taken() == [("id1", "start"), ("id2", "start")]


async def test_an_event_that_is_tried_again_outlives_a_disk_that_can_not_be_read(tmp_path, failing_disk):
    async with receiver() as received:
        received.answers = [500] * 3
        async with outlet(config(webhooks={"pager": {"url": received.url}}), tmp_path) as (hook, _):
            received.release = asyncio.Event()
            await hook.deliver(event(1))
            await until(lambda: received.waiting)
            failing_disk.set()
            received.release.set()
            await until(lambda: hook._outbox._failing)
            failing_disk.clear()
            await asyncio.wait_for(hook.flush(), 10)
        assert received.taken() == [("id1", "start")]


async def test_only_the_events_sources_and_phases_that_are_wanted_are_told(tmp_path):
    async with receiver() as received:
        wanted = {"url": received.url, "events": ["dog"], "sources": ["hall"], "phases": "end"}
        async with outlet(config(webhooks={"pager": wanted}), tmp_path) as (hook, _):
            for each in (
                event(1, name="cat"),
                event(2, source="attic"),
                event(3),
                event(3, Phase.END),
            ):
                await hook.deliver(each)
            await asyncio.wait_for(hook.flush(), 10)
        assert received.taken() == [("id3", "end")]


async def test_a_slow_webhook_holds_up_nobody(tmp_path):
    async with receiver() as slow, receiver() as quick:
        slow.release = asyncio.Event()
        made = config(webhooks={"slow": {"url": slow.url}, "quick": {"url": quick.url}})
        async with hook_outlets(made, tmp_path, Metrics(CollectorRegistry(), made), {}) as outlets:
            for number in range(4):
                for each in outlets:
                    await each.deliver(event(number))
            await quick.until(4)
            assert slow.requests == []
            slow.release.set()
            await slow.until(4)


async def test_a_token_file_that_is_missing_is_told_by_its_field(tmp_path):
    made = config(webhooks={"pager": {"url": "http://localhost/", "token_file": str(tmp_path / "none")}})
    with pytest.raises(CredentialError, match=r"webhooks\.pager\.token_file .*none: No such file"):
        async with outlet(made, tmp_path):
            pass


def test_addresses_and_headers_are_not_shown():
    made = config(
        webhooks={"pager": {"url": "https://me:s3cret@example.org/?key=s3cret", "headers": {"X": "s3cret"}}}
    )
    assert "s3cret" not in repr(made)
    assert Webhook(made.webhooks["pager"], None).name == "https://example.org"
