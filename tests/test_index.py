"""The index of a folder of recordings: what is taken, what is left out and told, what a kill leaves."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from index_kit import PLAIN, indexed
from tones import RATE_HZ, ToneEncoder, write_scene

from monitor.errors import SourceError
from monitor.history.values import HistoryError
from monitor.past.decode import decode
from monitor.past.index import Index
from monitor.past.query import plain_config


def test_a_second_run_takes_what_is_new_or_changed_and_forgets_what_has_gone(tmp_path):
    index = indexed(tmp_path, a=[(500, 2)], b=[(500, 2)], c=[(500, 2)])
    (tmp_path / "b.wav").unlink()
    write_scene(tmp_path / "c.wav", (2000, 3))
    (tmp_path / "deep").mkdir()
    write_scene(tmp_path / "deep" / "d.wav", (1000, 1))
    (tmp_path / "notes.txt").write_text("no sound")
    told = []
    done = index.update(PLAIN, ToneEncoder(), lambda *each: told.append(each))
    assert (done.added, done.unchanged, done.removed, done.failures) == (2, 1, 1, [])
    assert done.seconds == pytest.approx(4.0, abs=0.3)
    assert [s.kind.source for s in index.segments()] == ["a.wav", "c.wav", "deep/d.wav"]
    assert told[-1][1] == told[-1][2]
    wider = plain_config("compact", 1.0, 0.5)
    assert index.update(wider, ToneEncoder(), lambda *_: None).added == 3


def test_damaged_files_are_told_and_left_out_and_tried_again(tmp_path):
    write_scene(tmp_path / "good.wav", (500, 2))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.flac").write_text("this is no sound " * 50)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:20000])
    (tmp_path / "tiny.mp3").write_bytes(b"\xff\xfb")
    done = Index(tmp_path).update(PLAIN, ToneEncoder(), lambda *_: None)
    assert (done.added, len(done.failures)) == (1, 4)
    assert any("cut.wav' ends after" in line for line in done.failures)
    assert [s.kind.source for s in Index(tmp_path).segments()] == ["good.wav"]
    again = Index(tmp_path).update(PLAIN, ToneEncoder(), lambda *_: None)
    assert (again.added, again.unchanged, len(again.failures)) == (0, 1, 4)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path):
    with pytest.raises(HistoryError, match="has no index; make it with `sound-monitor index`"):
        list(Index(tmp_path).segments())
    with pytest.raises(SourceError, match="is no folder"):
        Index(tmp_path / "absent").update(PLAIN, ToneEncoder(), lambda *_: None)


@pytest.mark.real
@pytest.mark.parametrize("suffix", ["m4a", "mka", "wma", "ac3", "webm"])
def test_whatever_ffmpeg_reads_is_decoded(tmp_path, suffix):
    source = write_scene(tmp_path / "tone.wav", (1000, 3), rate_hz=48_000)
    path = tmp_path / f"it's -a.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-ac", "2", f"file:{path}"], check=True)
    samples = np.concatenate(list(decode(path, RATE_HZ)))
    assert len(samples) / RATE_HZ == pytest.approx(3.0, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.fft.rfftfreq(len(samples), 1 / RATE_HZ)[spectrum.argmax()] == pytest.approx(1000, abs=2)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceError, match="ffmpeg says"):
        list(decode(path, RATE_HZ))


@pytest.mark.real
def test_an_index_that_was_killed_goes_on_where_it_was(tmp_path):
    for number in range(12):
        write_scene(tmp_path / f"{number:02}.wav", (500, 8))
    command = [sys.executable, "-m", "monitor", "index", str(tmp_path)]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    index = Index(tmp_path)
    deadline = time.monotonic() + 60
    while index.count() < 3:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    before = len(list(index.segments()))
    assert 3 <= before < 12
    out = subprocess.run(
        [*command, "--json"], capture_output=True, check=True, cwd=Path(__file__).parent.parent
    )
    done = json.loads(out.stdout)
    assert (done["added"], done["unchanged"], done["failures"]) == (12 - before, before, [])
    assert not list(index.path.glob("part*"))
