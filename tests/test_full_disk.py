"""Where what a command prints or writes finds no room, it ends with one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from tones import write_scene


@pytest.fixture
def folder(tmp_path):
    write_scene(tmp_path / "tone.wav", (500, 3))
    (tmp_path / "loud.yaml").write_text("sources: {hall: {}}\nevents: {loud: {level: {above_dbfs: -40}}}\n")
    (tmp_path / "labels.csv").write_text("path,label,onset,offset\ntone.wav,loud,0,3\n")
    return tmp_path


def into_a_full_disk(folder, *arguments, unbuffered=""):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=folder,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "loud.yaml"],
        ["check", "loud.yaml", "--json"],
        ["replay", "tone.wav", "--config", "loud.yaml"],
        ["eval", "labels.csv", "--config", "loud.yaml"],
    ],
    ids=" ".join,
)
def test_output_that_finds_no_room_ends_a_command_with_a_line(folder, arguments, unbuffered):
    says = "sound-monitor: can't write: No space left on device; make room\n"
    assert into_a_full_disk(folder, *arguments, unbuffered=unbuffered) == (1, says)


def test_a_table_of_scores_that_finds_no_room_is_named(folder):
    done = into_a_full_disk(folder, "replay", "tone.wav", "--config", "loud.yaml", "--scores", "/dev/full")
    says = "sound-monitor: --scores '/dev/full' can't be written: No space left on device; make room\n"
    assert done == (1, says)
