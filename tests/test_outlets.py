"""What the log is told, and what it isn't told again."""

import json
import logging

from mqtt_kit import an_event

from monitor.log import JsonFormatter
from monitor.outlets import LogOutlet
from monitor.sinks.messages import event_fields


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
