"""What `sound-monitor check` tells, and that it is what the parts really do."""

from __future__ import annotations

import json
import math
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from check_kit import configure, warnings
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.check import facts, report
from monitor.config_file import load_config
from monitor.detection import Detector
from monitor.rules import DELAY_ASSUMES, Timing, event_in_words, windows_in_words
from monitor.types import Phase, Scores


def seconds_until_told(config, most_windows=2000):
    """Play a sound into the real smoother and state machine; it begins just after a window did."""
    hop, window = config.windows.hop_seconds, config.windows.window_seconds
    ids = map(str, count())
    detector = Detector("room", config, lambda: next(ids))
    for index in range(-50, most_windows):
        start = index * hop
        value = np.array([1.0 if start > 0 else 0.0], dtype=np.float32)
        events = detector.process(Scores("room", start, start + window, -10.0, value))
        if any(event.phase is Phase.START for event in events):
            return start + window
    return None


SMOOTHINGS = st.one_of(
    st.builds(lambda s: {"method": "ema", "seconds": s}, st.floats(0, 5)),
    st.builds(lambda s: {"method": "median", "seconds": s}, st.floats(0, 10)),
    st.just({"method": "none"}),
)


@given(
    smoothing=SMOOTHINGS,
    threshold=st.floats(0.01, 0.99),
    min_on_seconds=st.floats(0, 10),
    hop_seconds=st.floats(0.1, 2),
    window_seconds=st.floats(2, 10),
)
def test_the_delay_that_is_told_is_the_delay_of_the_real_parts(
    smoothing, threshold, min_on_seconds, hop_seconds, window_seconds
):
    if smoothing["method"] == "ema" and smoothing["seconds"] > 0:
        # Exactly on a window, single precision may decide either way.
        windows = -math.log1p(-threshold) * smoothing["seconds"] / hop_seconds
        assume(abs(windows - round(windows)) > 1e-3)
    # The same for rounding within the state machine's slack.
    assume(abs((min_on_seconds - 1e-3) / hop_seconds % 1.0 - 0.5) < 0.499)
    config = configure(
        {"dog": {"prompts": "a dog", "on_threshold": threshold, "min_on_seconds": min_on_seconds}},
        smoothing=smoothing,
        windows={"hop_seconds": hop_seconds, "window_seconds": window_seconds},
    )
    assert Timing.of(config, "dog").delay_seconds == pytest.approx(seconds_until_told(config), abs=1e-6)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            {"type": "ffmpeg", "url": "rtsp://bob:s3cret@cam/1?token=s3cret"},
            "rtsp://***@cam/1?token=*** by ffmpeg, live, all channels mixed",
        ),
        (
            {"type": "ffmpeg", "url": "/a.mp4", "channel": 2},
            "/a.mp4 by ffmpeg, a recording, once, at its own pace, channel 2",
        ),
        (
            {"gain_db": 6, "high_pass_hz": 80},
            "the default microphone, channel 1, 6 dB louder, without what is below 80 Hz",
        ),
        ({"type": "pcm", "listen": 4010}, "whoever connects to 127.0.0.1:4010, s16le at 16000 Hz, mono"),
        (
            {"type": "pcm", "connect": "shed:4010", "channels": 2, "channel": 2, "encoding": "f32le"},
            "samples from shed:4010, f32le at 16000 Hz, 2 channels, channel 2",
        ),
        ({"type": "pcm", "path": "-", "rate_hz": 48_000}, "standard input, s16le at 48000 Hz, mono"),
        ({"gain_db": -3.5}, "the default microphone, channel 1, 3.5 dB softer"),
    ],
)
def test_a_source_is_told_in_words_without_its_secrets(source, words):
    lines = report(configure(sources={"mic": source}), Path("home.yaml"))[0]
    assert f"source mic: {words}; listens for every event" in lines


def test_an_average_never_reaches_one():
    config = configure({"dog": {"prompts": "a dog", "on_threshold": 1}}, smoothing={"seconds": 30})
    assert Timing.of(config, "dog").delay_seconds is None
    assert seconds_until_told(config, 400) is None
    assert "events.dog.on_threshold: 1 is never reached by an average; lower it" in warnings(config)


@pytest.mark.parametrize("min_off_seconds", [0.0, 0.3, 0.5, 1.0, 1.7])
def test_the_windows_until_an_end_are_those_of_the_real_parts(min_off_seconds):
    config = configure(
        {"dog": {"prompts": "a dog", "min_off_seconds": min_off_seconds}}, smoothing={"method": "none"}
    )
    detector = Detector("room", config, lambda: "id")
    values = [1.0] * 4 + [0.0] * 20
    for index, value in enumerate(values):
        scores = Scores("room", index / 2, index / 2 + 2, -10.0, np.array([value], np.float32))
        if any(event.phase is Phase.END for event in detector.process(scores)):
            assert index - 3 == Timing.of(config, "dog").release_windows
            return
    pytest.fail("the event never ended")


def test_rules_are_told_in_windows_and_seconds():
    config = configure(
        {
            "dog": "a dog barking",
            "alarm": {
                "prompts": "an alarm",
                "on_threshold": 0.6,
                "off_threshold": 0.2,
                "min_on_seconds": 1,
                "min_off_seconds": 0.75,
                "cooldown_seconds": 30,
                "max_duration_seconds": 60,
                "smoothing": {"method": "median", "seconds": 2.5},
            },
            "knock": {"prompts": "knocking", "smoothing": {"method": "none"}},
            "bell": {"prompts": "a bell", "smoothing": {"seconds": 0.75, "fall_seconds": 0.75}},
        }
    )
    assert windows_in_words(config) == (
        "2 s of sound are scored every 0.5 s; quieter than -70 dBFS counts as 0"
    )
    # 0.4 s average: 1 - exp(-k 0.5 / 0.4) is 0.71 for k = 1: 2 s + 1 hop.
    assert event_in_words(config, "dog") == (
        "begins at 0.5; told within 2.5 s",
        "ends below 0.35 for 1 s (3 windows)",
        "smoothed by an average that rises over 0.4 s and falls over 1.5 s",
    )
    # 0.75 s average: 1 - exp(-k 0.5 / 0.75) is 0.49 for k = 1 and 0.74 for k = 2: 2 s + 2 hops.
    assert event_in_words(config, "bell") == (
        "begins at 0.5; told within 3 s",
        "ends below 0.35 for 1 s (3 windows)",
        "smoothed by an average over 0.75 s (1.5 windows)",
    )
    # 2 s + 3 hops until most of 5 windows are high + 2 hops held.
    assert event_in_words(config, "alarm") == (
        "begins at 0.6 in 3 of 5 windows, held for 1 s (3 windows in a row); told within 4.5 s",
        "ends below 0.2 for 0.75 s (3 windows) or after 60 s; can't begin again for 30 s",
        "smoothed by the median of 5 windows (2.5 s)",
    )
    assert event_in_words(config, "knock") == (
        "begins at 0.5; told within 2.5 s",
        "ends below 0.35 for 1 s (3 windows)",
        "not smoothed",
    )


def test_long_times_are_told_in_plain_numbers():
    config = configure(
        {"dog": {"prompts": "a dog", "min_on_seconds": 7200, "min_off_seconds": 86400}},
        windows={"hop_seconds": 0.1},
    )
    assert event_in_words(config, "dog")[:2] == (
        "begins at 0.5, held for 7200 s (72001 windows in a row); told within 7202.3 s",
        "ends below 0.35 for 86400 s (864001 windows)",
    )


def test_the_whole_report_of_a_small_configuration(tmp_path):
    path = tmp_path / "home.yaml"
    path.write_text(
        "sources:\n  room: {}\n  yard: {device: USB, channel: 2}\n  tape: {type: demo, seed: 3}\n"
        "events:\n  dog: a dog barking\n  bell: {prompts: a bell, sources: [room, tape]}\n"
        "mqtt: {broker: lan, prefix: home/sound}\n"
    )
    lines, warned = report(load_config(path, {}), path)
    assert lines == [
        f"{path}: valid",
        "",
        "windows    2 s of sound are scored every 0.5 s; quieter than -70 dBFS counts as 0",
        "encoder    compact, float32, device auto, 1 thread",
        "scoring    independent, against 7 background phrases",
        "mqtt       lan:1883, no TLS, MQTT 3.1.1, topics home/sound/#",
        "http       http://127.0.0.1:9464/",
        "",
        "source room: the default microphone, channel 1; listens for every event",
        "source yard: microphone 'USB', channel 2; listens for dog",
        "source tape: made-up sounds, seed 3; listens for every event",
        "",
        "event dog, on room, yard, tape",
        "    begins at 0.5; told within 2.5 s",
        "    ends below 0.35 for 1 s (3 windows)",
        "    smoothed by an average that rises over 0.4 s and falls over 1.5 s",
        "event bell, on room, tape",
        "    begins at 0.5; told within 2.5 s",
        "    ends below 0.35 for 1 s (3 windows)",
        "    smoothed by an average that rises over 0.4 s and falls over 1.5 s",
        "",
        DELAY_ASSUMES,
    ]
    assert warned == []


def test_a_script_gets_rules_and_warnings_as_fields():
    config = configure(
        {
            "dog": {"prompts": "a dog barking", "sources": "room", "min_on_seconds": 0.2},
            "bang": {"level": {"above_dbfs": -30}},
        },
        {"room": {}, "yard": {"type": "demo"}},
    )
    told = json.loads(json.dumps(facts(config, Path("home.yaml"))))
    assert told["valid"] is True
    assert told["warnings"] == ["events.dog.min_on_seconds: 0.2 is less than a hop and counts as 0.5"]
    assert {name: each["events"] for name, each in told["sources"].items()} == {
        "room": ["dog", "bang"],
        "yard": ["bang"],
    }
    assert told["events"]["dog"]["sources"] == ["room"]
    assert told["events"]["dog"]["told_within_seconds"] == 3.0
    assert told["events"]["dog"]["meaning"][0].startswith("begins at 0.5, held for 0.2 s")
    assert told["events"]["bang"]["on_threshold"] == pytest.approx(0.7)
