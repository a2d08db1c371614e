"""The command line: help with examples, exit codes, one-line errors, and no torch where none is needed."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from tones import write_scene

COMMANDS = (
    *("run", "check", "devices", "replay", "classify", "eval", "calibrate", "learn", "bench"),
    *("listen", "doctor", "tail"),
)


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        **options,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"  sound-monitor {command}" in done.stdout.split("examples:")[1]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in {"run", "replay"}])
def test_every_command_that_tells_something_can_tell_it_to_a_script(command):
    # A daemon's log is JSON by `log.format`, and what a replay tells always is.
    assert re.search(r"^  --json +print (a )?JSON", run(command, "--help").stdout, re.MULTILINE)


def test_help_lists_every_command():
    done = run("--help")
    assert all(re.search(rf"\n    {command}\s", done.stdout) for command in COMMANDS)
    assert "example: sound-monitor run" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "config/demo.yaml"],
        ["doctor", "config/demo.yaml"],
        ["bench", "--config", "config/demo.yaml"],
        ["--version"],
    ],
)
def test_what_needs_no_torch_imports_none(arguments):
    program = (
        "import sys\nfrom monitor.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code in {None, 0, 1}\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'a heavy import'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["check", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["run", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["replay", "a.wav"], 2, "--config"),
        (["frobnicate"], 2, "frobnicate"),
        (["classify", "nowhere.wav", "--labels", "a", "b"], 1, "nowhere.wav"),
        (["classify", "README.md", "--labels", "a", "b"], 1, "README.md"),
        (["replay", "nowhere.wav", "--config", "config/demo.yaml"], 1, "nowhere.wav"),
    ],
)
def test_misuse_is_told_without_a_traceback(arguments, status, error):
    done = run(*arguments)
    assert done.returncode == status, done.stderr
    assert error in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["check", "{config}"], ""),
        (["listen", "{config}", "--json"], ""),
        (["replay", "{recording}", "--config", "{config}"], "1"),
    ],
)
def test_output_that_nobody_reads_any_more_ends_a_command_quietly(tmp_path, arguments, unbuffered):
    recording = write_scene(tmp_path / "tone.wav", (3000, 3))
    config = tmp_path / "beep.yaml"
    config.write_text(
        f"sources: {{hall: {{type: file, path: {recording}}}}}\n"
        "events: {beep: {prompts: a high-pitched tone, on_threshold: 0.3, off_threshold: 0.25}}\n"
    )
    command = [argument.format(config=config, recording=recording) for argument in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *command],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def run_with_closed(streams, *arguments):
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {streams}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_an_error_is_one_line_also_where_there_is_no_standard_output(tmp_path):
    done = run_with_closed(">&-", "replay", tmp_path / "none.wav", "--config", "config/demo.yaml")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "none.wav' can't be read" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["check", "config/demo.yaml"], ["history", "info", "--history", "{history}", "--json"]]
)
def test_a_command_does_its_work_also_where_there_is_no_standard_output(tmp_path, arguments):
    recording = write_scene(tmp_path / "tone.wav", (3000, 3))
    history = tmp_path / "history"
    run("replay", recording, "--config", "config/demo.yaml", "--history", history)
    done = run_with_closed(">&-", *(each.format(history=history) for each in arguments))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_goes_nowhere_where_there_is_no_standard_error():
    done = run_with_closed("2>&-", "check", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "")


ASCII_LOCALE = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_words_may_be_of_any_language_where_the_locale_knows_ascii_only(tmp_path):
    recording = write_scene(tmp_path / "tone.wav", (3000, 3))
    labels = ["犬", "ein Ton", "sifflé"]
    arguments = "classify", recording, "--template", "{} — кот", "--json", "--labels", *labels
    done = run(*arguments, env=ASCII_LOCALE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(*arguments).stdout
    assert {each["label"] for each in json.loads(done.stdout)} == set(labels)


def test_words_that_are_no_text_are_refused_in_a_line():
    done = run("classify", "any.wav", "--labels", os.fsdecode(b"caf\xe9"))
    assert done.returncode == 2
    assert "argument --labels: 'caf\\udce9' isn't UTF-8; write it in UTF-8" in done.stderr


def test_check_exits_2_on_a_bad_file_and_names_the_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "sources:\n  hall: {type: microphone}\nevents:\n  dog: {prompts: a dog, on_threshold: 1.4}\n"
    )
    done = run("check", bad)
    assert done.returncode == 2
    assert f"{bad}:4: events.dog.on_threshold: 1.4 is not between 0 and 1" in done.stderr


def test_check_tells_a_script_what_is_wrong(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("sources: {hall: {}}\nevents: {dog: {prompts: a dog, on_threshold: 1.4}}\n")
    done = run("check", bad, "--json")
    assert (done.returncode, done.stderr) == (2, "")
    says = f"{bad}:2: events.dog.on_threshold: 1.4 is not between 0 and 1"
    assert json.loads(done.stdout) == {"valid": False, "errors": [says]}


def test_replay_leaves_an_earlier_table_alone_when_a_recording_is_missing(tmp_path):
    recording = write_scene(tmp_path / "tone.wav", (2000, 3))
    scores = tmp_path / "scores.tsv"
    scores.write_text("of another day")
    done = run("replay", recording, tmp_path / "no.wav", "--config", "config/demo.yaml", "--scores", scores)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no.wav' can't be read: No such file or directory" in done.stderr
    assert scores.read_text() == "of another day"


def test_replay_prints_events_and_writes_the_scores_timeline(tmp_path):
    recording = write_scene(tmp_path / "tone.wav", (None, 3), (3000, 3), (None, 3))
    config = tmp_path / "beep.yaml"
    config.write_text(
        "sources: {hall: {type: microphone}}\n"
        "events: {beep: {prompts: a high-pitched tone, on_threshold: 0.3, off_threshold: 0.25}}\n"
    )
    scores = tmp_path / "scores.tsv"
    done = run("replay", recording, "--config", config, "--scores", scores)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["phase"] for event in events[:2]] == ["start", "end"]
    assert {event["event"] for event in events} == {"beep"}
    header, *rows = (line.split("\t") for line in scores.read_text().splitlines())
    assert header == ["source", "time", "beep"]
    assert len(rows) == 15  # (9 s - 2 s) / 0.5 s + 1
    assert all(0 <= float(row[2]) <= 1 for row in rows)
