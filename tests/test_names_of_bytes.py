"""A recording's name may be any bytes: it is read all the same, and told so that the output stays text."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from tones import write_scene

NAME = b"caf\xe9.wav"
TOLD = "caf\\udce9.wav"
CONFIG = "sources: {hall: {}}\nevents: {loud: {level: {above_dbfs: -40}}}\n"


@pytest.fixture
def folder(tmp_path):
    write_scene(tmp_path / "tone.wav", (500, 3))
    (tmp_path / "tone.wav").rename(tmp_path / os.fsdecode(NAME))
    (tmp_path / "loud.yaml").write_text(CONFIG)
    return tmp_path


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_replay_tells_and_tabulates_it(folder):
    code, out, err = run(folder, "replay", NAME, "--config", "loud.yaml", "--scores", "scores.tsv")
    assert (code, err) == (0, "")
    assert {json.loads(line)["file"] for line in out.splitlines()} == {os.fsdecode(NAME)}
    _, *rows = (folder / "scores.tsv").read_text(encoding="utf-8").splitlines()
    assert {row.split("\t")[0] for row in rows} == {TOLD}


def test_calibrate_listens_to_it(folder):
    code, out, err = run(folder, "calibrate", "loud.yaml", "--recording", NAME, "--out", "thresholds.yaml")
    assert (code, err) == (0, "")
    assert TOLD in out


@pytest.mark.real
def test_classify_reads_it(folder):
    code, _, err = run(folder, "classify", NAME, "--labels", "a tone", "rain")
    assert (code, err) == (0, "")


@pytest.mark.real
def test_an_index_has_it_and_search_finds_it(folder):
    code, out, err = run(folder, "index", ".", "--json")
    assert (code, err, json.loads(out)["added"]) == (0, "", 1)
    code, out, err = run(folder, "search", "a tone", "--index", ".", "--json")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["moments"]) == 1


def test_learn_refuses_it_since_a_configuration_cannot_hold_it(folder):
    code, out, err = run(folder, "learn", "loud", "--from", NAME, "--config", "loud.yaml")
    assert (code, out) == (2, "")
    assert err == f"--from: '{TOLD}' isn't UTF-8, as the configuration must be; rename it\n"
    assert (folder / "loud.yaml").read_text() == CONFIG
