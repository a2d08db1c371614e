"""Retries are patient, capped, jittered and quiet; bugs pass through."""

import logging
import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SourceError
from monitor.supervise import Backoff, Supervisor


@given(seed=st.integers(0, 999), first=st.floats(0.01, 10), cap=st.floats(10, 100))
def test_waits_grow_to_the_cap_and_never_beyond(seed, first, cap):
    waits = list(islice(Backoff(first, cap).waits(random.Random(seed)), 40))
    assert all(0 < wait <= cap for wait in waits)
    assert first / 2 <= waits[0] <= first
    assert all(wait >= cap / 2 for wait in waits[-10:])


class Attempts:
    def __init__(self, supervisor, outcomes):
        self.supervisor = supervisor
        self.outcomes = iter(outcomes)
        self.failures = []

    async def attempt(self):
        outcome = next(self.outcomes)
        if outcome == "works, then fails":
            self.supervisor.succeeded()
            raise SourceError("gone")
        if isinstance(outcome, Exception):
            raise outcome

    async def failed(self, error):
        self.failures.append(error)


def supervisor():
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    return Supervisor("microphone hall", (SourceError,), Backoff(1, 8), sleep, random.Random(1)), waits


async def test_first_failure_warns_repeats_whisper_and_recovery_is_told(caplog):
    made, waits = supervisor()
    gone = SourceError("not there")
    attempts = Attempts(made, [gone, gone, "works, then fails", None])
    with caplog.at_level(logging.DEBUG, "monitor.supervise"):
        await made.run(attempts.attempt, attempts.failed)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "INFO", "WARNING"]
    assert len(attempts.failures) == 3
    assert waits[2] <= 1.0


async def test_what_is_not_a_known_failure_passes_through():
    made, _ = supervisor()
    attempts = Attempts(made, [SourceError("x"), KeyError("bug")])
    with pytest.raises(KeyError):
        await made.run(attempts.attempt, attempts.failed)
