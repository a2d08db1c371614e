"""What the veto forbids is in no clip, and neither is what it could not judge."""

import math

import numpy as np
import pytest
import soundfile
from clips_kit import config, count, run
from prometheus_client import CollectorRegistry
from tones import RATE_HZ, scene, write_scene

from monitor.clip_outlet import ClipOutlet
from monitor.clips.store import ClipStore
from monitor.config import PrivacyConfig
from monitor.detection import Detector
from monitor.metrics import Metrics
from monitor.switches import Switches
from monitor.types import AudioBlock, Event, Phase, Reason, Scores, Window

PRIVACY = {"veto": ["a tone of 2000 Hz"]}


async def test_sound_that_is_vetoed_leaves_the_event_and_drops_the_clip(tmp_path):
    privacy = {"veto": ["a tone of 2000 Hz"]}
    near = write_scene(tmp_path / "near.wav", (None, 3), (500, 2), (None, 0.25), (2000, 1), (None, 2))
    events, registry = await run(config(tmp_path, near, privacy=privacy))
    assert [event.phase for event in events] == [Phase.START, Phase.END]
    assert count(registry, "vetoed") == 1
    assert not list((tmp_path / "clips").rglob("*.flac"))
    before = write_scene(tmp_path / "before.wav", (2000, 1), (None, 1), (500, 2), (None, 2))
    events, registry = await run(config(tmp_path, before, privacy=privacy))
    assert events[-1].clip is None
    assert count(registry, "vetoed") == 1
    far = write_scene(tmp_path / "far.wav", (2000, 2), (None, 5), (500, 2), (None, 5), (2000, 2))
    events, registry = await run(config(tmp_path, far, privacy=privacy))
    assert count(registry, "written") == 1
    assert (tmp_path / "clips" / events[-1].clip).is_file()


async def test_the_veto_holds_however_long_the_event_lasts(tmp_path):
    path = write_scene(tmp_path / "a.wav", (2000, 0.5), (None, 0.75), (500, 25), (None, 3))
    events, registry = await run(config(tmp_path, path, privacy=PRIVACY, clips={"max_seconds": 3}))
    assert events[-1].clip is None
    assert count(registry, "vetoed") == 1
    assert not list((tmp_path / "clips").rglob("*.flac"))


async def test_where_no_event_needs_the_model_the_veto_does(tmp_path):
    loud = {"loud": {"level": {"above_dbfs": -25}}}
    path = write_scene(tmp_path / "a.wav", (None, 3), (2000, 2), (None, 3))
    events, registry = await run(config(tmp_path, path, privacy=PRIVACY, events=loud))
    assert events[-1].clip is None
    assert count(registry, "vetoed") == 1
    path = write_scene(tmp_path / "b.wav", (None, 3), (500, 2), (None, 3))
    events, registry = await run(config(tmp_path, path, privacy=PRIVACY, events=loud))
    assert (tmp_path / "clips" / events[-1].clip).is_file()


async def test_what_is_too_quiet_for_any_event_is_judged_all_the_same(tmp_path):
    path = tmp_path / "a.wav"
    whispered = 0.05 * scene((2000, 1))
    soundfile.write(path, np.concatenate([whispered, scene((None, 0.75), (500, 2), (None, 2))]), RATE_HZ)
    windows = {"window_seconds": 1.0, "hop_seconds": 0.25, "min_level_dbfs": -30}
    events, registry = await run(config(tmp_path, path, privacy=PRIVACY, windows=windows))
    assert events[-1].clip is None
    assert count(registry, "vetoed") == 1


async def test_digital_silence_needs_no_judge(tmp_path):
    path = tmp_path / "a.wav"
    nothing = np.zeros(3 * RATE_HZ, np.float32)
    soundfile.write(path, np.concatenate([nothing, scene((500, 2)), nothing]), RATE_HZ)
    events, _ = await run(config(tmp_path, path, privacy=PRIVACY))
    assert (tmp_path / "clips" / events[-1].clip).is_file()


def test_the_model_hears_all_of_a_source_with_clips_and_a_veto_but_nothing_while_it_is_switched_off(tmp_path):
    made = config(tmp_path, tmp_path / "a.wav", privacy=PRIVACY)
    detector = Detector("hall", made, lambda: "id")
    assert detector.quietest_dbfs == -math.inf
    detector.switch(Switches().turned("hall", None, on=False))
    assert detector.quietest_dbfs == 0.0
    events = {"low": {"prompts": "a tone", "clip": False}}
    for more in ({}, {"privacy": PRIVACY, "events": events}):
        other = config(tmp_path, tmp_path / "a.wav", **more)
        assert Detector("hall", other, lambda: "id").quietest_dbfs == -70.0


class Heard:
    """Ten seconds of sound, an event from 4 to 6, and windows of a second every half, some not judged."""

    def __init__(self, tmp_path):
        self.config = config(tmp_path, tmp_path / "a.wav", privacy=PRIVACY)
        self.registry = CollectorRegistry()
        self.outlet = ClipOutlet(
            self.config,
            self.config.clips,
            ClipStore(tmp_path / "clips", 1, 10**9),
            Metrics(self.registry, self.config),
            vetoed=lambda embeddings: embeddings[:, 1],
        )

    async def play(self, *, missing=(), zeros=(), unwanted=(), other_words_at=None, until=10.0):
        """Windows are named by their ends in seconds; return the event's end, and what became of its clip."""
        told = None
        for half in range(round(2 * until)):
            samples = np.full(RATE_HZ // 2, 0.1, np.float32)
            self.outlet.heard(AudioBlock("hall", half * RATE_HZ // 2, RATE_HZ, samples, half / 2))
            end = (half + 1) / 2
            if end == other_words_at:
                privacy = PrivacyConfig(veto=("a tone of 4000 Hz",))
                self.outlet.configure(self.config.model_copy(update={"privacy": privacy}))
            if end >= 1.0 and end not in missing:
                sound = np.full(RATE_HZ, 0.1, np.float32)
                window = Window("hall", round((end - 1) * RATE_HZ), RATE_HZ, sound, end - 1, end, -20.0)
                row = [0.0, 0.0] if end in zeros else [1.0, float(end in unwanted)]
                self.outlet.embedded([window], np.array([row], np.float32))
                self.outlet.scored(Scores("hall", end - 1, end, -20.0, np.zeros(1, np.float32)), [])
            if end in (5.0, 8.0):
                phase = Phase.START if end == 5.0 else Phase.END
                ended_at = None if end == 5.0 else 6.0
                event = Event("1", "hall", "low", phase, 4.0, ended_at, 0.9, 0.5, Reason.THRESHOLD)
                told = self.outlet.named(event)
                await self.outlet.deliver(told)
        self.outlet.source_changed("hall", online=False)
        outcomes = {each: count(self.registry, each) for each in ("unjudged", "vetoed")}
        take = None if self.outlet._queue.empty() else self.outlet._queue.get_nowait()[2]
        return told, outcomes, take


async def test_a_clip_that_is_judged_from_end_to_end_is_kept(tmp_path):
    told, outcomes, take = await Heard(tmp_path).play(unwanted=[2.0, 2.5, 8.0])
    assert told.clip is not None
    assert outcomes == {"unjudged": 0, "vetoed": 0}
    assert len(take.samples()) == 4.25 * RATE_HZ


@pytest.mark.parametrize(
    "gaps", [{"missing": [4.0, 5.5, 7.0]}, {"missing": [1.0, 1.5, 2.0, 2.5, 7.5]}, {"zeros": [4.5]}]
)
async def test_a_dropped_window_does_no_harm_where_others_hold_its_sound(tmp_path, gaps):
    told, _, take = await Heard(tmp_path).play(**gaps)
    assert told.clip is not None
    assert len(take.samples()) == 4.25 * RATE_HZ


@pytest.mark.parametrize(
    "gaps", [{"missing": [5.5, 6.0]}, {"zeros": [4.0, 4.5, 5.0]}, {"other_words_at": 5.5}]
)
async def test_sound_that_nobody_judged_is_in_no_clip(tmp_path, gaps, caplog):
    caplog.set_level("INFO")
    told, outcomes, take = await Heard(tmp_path).play(**gaps)
    assert (told.clip, take) == (None, None)
    assert outcomes == {"unjudged": 1, "vetoed": 0}
    assert "isn't kept: privacy.veto could not judge all of it" in caplog.text


@pytest.mark.parametrize(
    ("gaps", "begins"),
    [
        pytest.param({"zeros": [2.5, 3.0, 3.5]}, 3.0, id="lost in between"),
        pytest.param({"zeros": [3.5, 4.0, 4.5]}, 4.0, id="right up to the event"),
        pytest.param({"zeros": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]}, 3.5, id="switched on late"),
        pytest.param({"other_words_at": 4.5}, 3.5, id="other words"),
        pytest.param({"zeros": [2.5, 3.0, 3.5], "unwanted": [2.0]}, 3.0, id="unwanted before the hole"),
    ],
)
async def test_sound_that_nobody_judged_before_the_event_only_shortens_the_clip(tmp_path, gaps, begins):
    told, outcomes, take = await Heard(tmp_path).play(**gaps)
    assert told.clip is not None
    assert outcomes == {"unjudged": 0, "vetoed": 0}
    assert take.start_time == begins
    assert len(take.samples()) == (6.75 - begins) * RATE_HZ


async def test_unwanted_sound_between_a_hole_and_the_event_is_in_no_clip(tmp_path):
    told, outcomes, take = await Heard(tmp_path).play(zeros=[2.5, 3.0, 3.5], unwanted=[4.0])
    assert (told.clip, take) == (None, None)
    assert outcomes == {"unjudged": 0, "vetoed": 1}


async def test_a_clip_ends_where_its_sound_is_no_longer_judged(tmp_path):
    told, outcomes, take = await Heard(tmp_path).play(zeros=[6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0])
    assert told.clip is not None
    assert outcomes == {"unjudged": 0, "vetoed": 0}
    assert len(take.samples()) == (6.0 - 2.5) * RATE_HZ


async def test_a_source_that_is_lost_leaves_what_was_judged(tmp_path):
    _, outcomes, take = await Heard(tmp_path).play(missing=[6.5], until=6.5)
    assert outcomes == {"unjudged": 0, "vetoed": 0}
    assert len(take.samples()) == (6.0 - 2.5) * RATE_HZ
