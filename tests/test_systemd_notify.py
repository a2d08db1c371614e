"""The daemon's line to systemd, over real unix sockets."""

import logging
import os
import socket
import time
import uuid
from pathlib import Path

import pytest

from monitor.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path: Path):
    """A socket that hears what systemd would, and the NOTIFY_SOCKET that leads to it."""
    name = f"sound-monitor-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify")
            listener.bind(address)
        else:
            address = f"@{name}"
            listener.bind(f"\0{name}")
        yield listener, address


def heard(listener: socket.socket) -> list[str]:
    return listener.recv(4096).decode().split("\n")


def test_each_state_is_told_in_a_datagram_of_its_own(manager):
    listener, address = manager
    with Notifier({"NOTIFY_SOCKET": address}) as notifier:
        notifier.ready("listening to 2 sources")
        assert heard(listener) == ["READY=1", "STATUS=listening to 2 sources"]
        notifier.status("scoring")
        assert heard(listener) == ["STATUS=scoring"]
        notifier.watchdog()
        assert heard(listener) == ["WATCHDOG=1"]
        notifier.stopping()
        assert heard(listener) == ["STOPPING=1", "STATUS=stopping"]


def test_reloading_carries_the_monotonic_clock_in_microseconds(manager):
    listener, address = manager
    with Notifier({"NOTIFY_SOCKET": address}) as notifier:
        before = time.monotonic_ns() // 1000
        notifier.reloading()
        after = time.monotonic_ns() // 1000
    state, clock, status = heard(listener)
    assert (state, status) == ("RELOADING=1", "STATUS=reloading the configuration")
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= after


def test_a_line_break_in_a_status_starts_no_second_assignment(manager):
    listener, address = manager
    with Notifier({"NOTIFY_SOCKET": address}) as notifier:
        notifier.status("bad file\nREADY=1\r\nSTOPPING=1")
    assert heard(listener) == ["STATUS=bad file READY=1 STOPPING=1"]


def test_without_systemd_nothing_happens():
    with Notifier({"WATCHDOG_USEC": "30000000"}) as notifier:
        notifier.ready("x")
        notifier.watchdog()
        assert notifier.watchdog_interval is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_pinged_at_half_its_time(manager, environ, expected):
    _, address = manager
    with Notifier({"NOTIFY_SOCKET": address, **environ}) as notifier:
        assert notifier.watchdog_interval == expected


@pytest.mark.parametrize("address", ["vsock:2:1234", "notify", "/nowhere/notify", "@nobody-listens-here"])
def test_an_unusable_socket_is_said_once_and_ends_nothing(address, caplog):
    with Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}) as notifier:
        notifier.ready("x")
        notifier.watchdog()
        assert notifier.watchdog_interval is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert address in caplog.text


def test_a_manager_that_went_away_is_said_once_and_ends_nothing(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        notifier = Notifier({"NOTIFY_SOCKET": address})
    with notifier:
        for _ in range(3):
            notifier.watchdog()
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
