"""What the log is told, and what it isn't told again."""

import logging

from monitor.outlets import LogOutlet


def test_a_source_is_told_when_it_comes_and_goes_and_not_at_every_attempt(caplog):
    outlet = LogOutlet()
    with caplog.at_level(logging.INFO, "monitor.outlets"):
        for online in (False, False, True, True, False, False):
            outlet.source_changed("hall", online)
    assert [record.getMessage() for record in caplog.records] == [
        "source hall: delivers sound",
        "source hall: delivers no sound now",
    ]
