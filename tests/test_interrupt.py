"""Ctrl-C is silent wherever it falls, and exits 130 where nothing has begun that could end in order."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from tones import write_scene

PRESS_AT_AN_IMPORT = """
import itertools, os, signal, sys

class Finger:
    def __init__(self):
        self.imports = None
    def find_spec(self, name, *_):
        if name == "argparse":  # of the program's own imports the first
            self.imports = itertools.count()
        if self.imports is not None and next(self.imports) == {at}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finger())
"""
PRESS_AT_THE_END = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGINT)
"""
BEGIN = """
from monitor.__main__ import main
main()
"""


def run(program, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", program + BEGIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        **options,
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration whose source ends."""
    directory = tmp_path_factory.mktemp("interrupt")
    recording = write_scene(directory / "tone.wav", (3000, 3))
    path = directory / "beep.yaml"
    path.write_text(
        f"sources: {{hall: {{type: file, path: {recording}, realtime: false}}}}\n"
        f"state_directory: {directory}\nhttp: {{enabled: false}}\nlog: {{level: warning}}\n"
        "events: {beep: a high-pitched tone}\n"
    )
    return path


@pytest.mark.parametrize("command", ["check", "run", "listen"])
@pytest.mark.parametrize("at", [0, 10, 25, 50, 100, 200, 300])
def test_ctrl_c_while_starting_is_silent(config, command, at):
    done = run(PRESS_AT_AN_IMPORT.format(at=at), command, config)
    assert done.stderr == ""
    assert done.returncode == 130


def test_ctrl_c_while_ending_is_silent(config):
    done = run(PRESS_AT_THE_END, "check", config)
    assert "beep" in done.stdout
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_is_ignored_where_it_was_as_in_the_background(config):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    done = run(PRESS_AT_AN_IMPORT.format(at=0) + PRESS_AT_THE_END, "check", config, preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (0, "")
