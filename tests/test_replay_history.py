"""A replay may keep what it heard, each recording once."""

import re

import pytest
from pipeline_kit import config
from tones import ToneEncoder, write_scene

from monitor import replay
from monitor.history.folder import Folder
from monitor.history.values import HistoryError
from monitor.scoring import Scorer

MADE = config({"unused": {"type": "demo"}})


@pytest.fixture
def heard(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "Scorer", lambda: Scorer(lambda _: ToneEncoder()))

    async def into_history(*names, scores=None):
        files = [write_scene(tmp_path / name, (None, 2), (500, 2)) for name in names]
        await replay.print_replay(MADE, files, scores, tmp_path / "history")
        return Folder(tmp_path / "history")

    return into_history


async def test_recordings_are_added_to_a_folder_that_holds_others(heard):
    await heard("one.wav", "two.wav")
    folder = await heard("three.wav")
    assert sorted(place.source for place in folder.places()) == ["one", "three", "two"]


async def test_a_recording_whose_name_the_folder_holds_is_refused_before_anything_is_written(heard, tmp_path):
    table, history = tmp_path / "scores.tsv", tmp_path / "history"
    table.write_text("of another day")
    folder = await heard("one.wav")
    (before,) = folder.segments()
    says = (
        f"--history {str(history)!r} holds a recording named one already; "
        f"give another folder, or remove {str(history / 'one')!r} first"
    )
    with pytest.raises(HistoryError, match=re.escape(says)):
        await heard("two.wav", "one.wav", scores=table)
    (after,) = folder.segments()
    assert len(after) == len(before)
    assert table.read_text() == "of another day"
