"""What the log is told, and what it isn't told again; what the page gets."""

import json
import logging

import numpy as np
from mqtt_kit import an_event
from scenes import NOW, event

from monitor.log import JsonFormatter
from monitor.outlets import LogOutlet, PageOutlet
from monitor.sinks.messages import event_fields
from monitor.types import AudioBlock
from monitor.web import Live


def test_a_source_is_told_when_it_comes_and_goes_and_not_at_every_attempt(caplog):
    outlet = LogOutlet()
    with caplog.at_level(logging.INFO, "monitor.outlets"):
        for online in (False, False, True, True, False, False):
            outlet.source_changed("hall", online)
    assert [record.getMessage() for record in caplog.records] == [
        "source hall: delivers sound",
        "source hall: delivers no sound now",
    ]


async def test_a_json_log_has_an_event_as_it_is_published(caplog):
    with caplog.at_level(logging.INFO, "monitor.outlets"):
        await LogOutlet().deliver(an_event(1))
    (record,) = caplog.records
    told = json.loads(JsonFormatter().format(record))
    assert told["message"] == "hall: dog_bark began (score 0.75, threshold 0.50)"
    assert told["event"] == event_fields(an_event(1))


async def test_the_page_gets_the_events_of_the_day_and_the_sound_that_is_watched():
    live = Live()
    outlet = PageOutlet(live)
    began = event(1, "kitchen", "dog_bark", 0.0, None, 0.8)
    await outlet.deliver(began)
    assert live.day.occurrences() == (began,)
    with live.spectrograms.watch(["kitchen"]) as watcher:
        outlet.heard(AudioBlock("kitchen", 0, 48_000, np.zeros(9_600, np.float32), NOW))
        assert b'"source":"kitchen"' in await watcher.next()
