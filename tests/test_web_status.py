"""The status as JSON."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import HOUSE, NOW

from monitor.status import SILENCE_DBFS, floor_dbfs, to_json
from monitor.types import Activity


def test_a_status_is_rendered_whole():
    rendered = json.loads(to_json(HOUSE))
    assert set(rendered) == set(asdict(HOUSE))
    assert rendered["sources"][0] == {
        "name": "kitchen",
        "state": "online",
        "problem": None,
        "enabled": True,
        "last_audio_at": NOW - 0.3,
        "last_score_at": NOW - 0.4,
        "level_dbfs": -31.4,
        "overflows": 2,
        "restarts": 1,
        "windows_scored": 604_713,
        "windows_dropped": {"superseded": 12},
    }
    assert rendered["activities"][1] == {
        "source": "kitchen",
        "event": "smoke_alarm",
        "raw": 0.97,
        "smooth": 0.91,
        "active": True,
        "since": NOW - 12.0,
        "enabled": True,
    }
    assert rendered["recent"][3]["reason"] == "source_lost"
    assert rendered["encoder"] == {"identity": "compact", "device": "cpu", "dtype": "float32"}
    assert rendered["mqtt_connected"] is True
    assert rendered["outbox"] == {"pending": 0, "oldest_at": None}


@given(st.floats(), st.floats(), st.one_of(st.none(), st.floats()))
def test_any_number_gives_strict_json(raw, smooth, level):
    status = replace(
        HOUSE,
        sources=(replace(HOUSE.sources[0], level_dbfs=level),),
        activities=(Activity("kitchen", "dog_bark", raw, smooth, active=False, since=None),),
    )
    rendered = json.loads(to_json(status), parse_constant=pytest.fail)
    activity = rendered["activities"][0]
    for given_value, shown in [(raw, activity["raw"]), (smooth, activity["smooth"])]:
        if math.isfinite(given_value):
            assert shown == pytest.approx(given_value, abs=5e-5)
        else:
            assert shown is None


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_stays_on_one_line_of_ascii_as_a_server_sent_event_needs(text):
    rendered = to_json(replace(HOUSE.sources[0], problem=text))
    assert rendered.isascii()
    assert rendered.isprintable()
    assert json.loads(rendered)["problem"] == text


def test_what_is_no_status_is_refused_rather_than_guessed():
    with pytest.raises(TypeError):
        to_json(np.zeros(3))


@given(st.floats())
def test_a_level_can_always_be_shown(level):
    shown = floor_dbfs(level)
    assert shown >= SILENCE_DBFS
    assert math.isfinite(shown)
    if math.isfinite(level) and level >= SILENCE_DBFS:
        assert shown == level
