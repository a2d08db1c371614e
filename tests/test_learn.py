"""Examples: what they teach, how the configuration takes them up, and what is told."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from monitor.cli import main
from monitor.config import EncoderConfig
from monitor.config_file import load_config
from monitor.encoders import load_encoder
from monitor.errors import ConfigError
from monitor.examples import read, trimmed
from monitor.scoring import Scorer
from monitor.yaml_edit import with_examples

RATE_HZ = 48_000
CONFIG = """# my house
sources: {room: {}}   # one microphone

events:
  # the dog next door
  dog: a dog barking   # loud
  rain:
    - rain on a roof   # tin
    - a downpour
  # the end
background: [silence, people talking]
"""


def tune(first_hz, seconds=1.5, silence_seconds=1.0, seed=0):
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    notes = np.array([first_hz, first_hz * 1.25, first_hz * 1.5])[(times * 4).astype(int) % 3]
    silence = np.zeros(int(silence_seconds * RATE_HZ))
    sound = np.concatenate([silence, 0.3 * np.sin(2 * np.pi * np.cumsum(notes) / RATE_HZ), silence])
    return (sound + 1e-5 * np.random.default_rng(seed).standard_normal(len(sound))).astype(np.float32)


@pytest.fixture
def house(tmp_path):
    (tmp_path / "house.yaml").write_text(CONFIG)
    for index, first_hz in enumerate((880.0, 885.0, 875.0)):
        soundfile.write(tmp_path / f"tune{index}.wav", tune(first_hz, seed=index), RATE_HZ)
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["learn", *map(str, arguments)])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


EDITS = {
    "short event": ("e:\n", "  a: a cat  # x\n"),
    "quoted short event": ("e:\n", "  a: 'a \"cat\": yes, one'  # x\n"),
    "flow list event": ("e:\n", "  a: [a cat, mew]  # x\n"),
    "block list event": ("e:\n", "  a:  # x\n    - a cat\n    - mew\n"),
    "block mapping": ("e:\n", "  a:\n    prompts: a cat  # x\n    # end\n"),
    "block mapping whose last value is a list": ("e:\n", "  a:\n    prompts:\n    - a cat\n    - mew  # x\n"),
    "flow mapping": ("e:\n", "  a: {prompts: a cat}  # x\n"),
    "scalar example": ("e:\n", "  a:\n    examples: old.wav  # x\n    prompts: a cat\n"),
    "flow examples": ("e:\n", "  a:\n    examples: [old.wav]  # x\n    prompts: a cat\n"),
    "block examples": ("e:\n", "  a:\n    examples:\n      - old.wav  # x\n    # end\n    prompts: a cat\n"),
    "new event": ("e:\n", "  b: a cow  # x\n  # end\n"),
    "new event after a block scalar": ("e:\n", "  b:\n    prompts: >\n      a\n      cow\n  # x\n"),
}


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("events", [text for _, text in EDITS.values()], ids=EDITS)
def test_examples_are_added_and_every_comment_stays(events, ending, tmp_path):
    text = f"# top\nsources: {{room: {{}}}}\nevents:\n{events}log: {{level: info}}  # last\n"
    text = text.replace("\n", ending)
    before, after = tmp_path / "before.yaml", tmp_path / "after.yaml"
    changed = with_examples(text, "a", ["new $1.wav"], [])
    assert changed is not None
    before.write_text(text, newline="")
    after.write_text(changed, newline="")
    old, new = load_config(before), load_config(after)
    had = old.events["a"].examples if "a" in old.events else ()
    assert new.events["a"].examples == (*had, tmp_path / "new $1.wav")
    if "a" in old.events:
        assert new.events["a"].prompts == old.events["a"].prompts
    assert {k: v for k, v in new.events.items() if k != "a"} == {
        k: v for k, v in old.events.items() if k != "a"
    }
    for comment in ("# top", "# x", "# last", *(["# end"] if "# end" in text else [])):
        assert changed.count(comment) == 1
    assert changed.count("\r\n") == (changed.count("\n") if ending == "\r\n" else 0)


def test_silence_at_the_ends_is_left_out():
    sound = trimmed(tune(440.0, seconds=1.5, silence_seconds=2.0), RATE_HZ)
    assert len(sound) / RATE_HZ == pytest.approx(1.7, abs=0.11)
    assert not trimmed(np.zeros(RATE_HZ, np.float32), RATE_HZ).size


def test_a_long_example_is_read_in_bounded_memory(tmp_path):
    soundfile.write(tmp_path / "long.wav", tune(440.0, seconds=40.0), RATE_HZ)
    sound, seconds = read(tmp_path / "long.wav", RATE_HZ)
    assert len(sound) == 30 * RATE_HZ
    assert seconds == pytest.approx(42.0, abs=0.01)


@pytest.mark.real
def test_learn_adds_an_event_that_hears_the_sound(house, capsys):
    file = house / "house.yaml"
    code, out, err = run(capsys, "tune", "--from", house / "tune0.wav", house / "tune1.wav", "--config", file)
    assert (code, err) == (0, "")
    assert "tune0.wav: 1.7 s of sound in 3.5 s" in out
    assert float(re.search(r"likeness between examples (\S+) to", out)[1]) > 0.8
    assert "separation: its own examples score" in out
    assert file.read_text().replace('  tune: {examples: ["tune0.wav", "tune1.wav"]}\n', "") == CONFIG
    assert (house / "house.yaml.bak").read_text() == CONFIG

    before = file.read_text()
    code, out, _ = run(capsys, "tune", "--from", house / "tune2.wav", "--config", file)
    assert code == 0
    assert (house / "house.yaml.bak").read_text() == CONFIG, "what the user wrote stays"
    assert (house / "house.yaml.bak.1").read_text() == before
    assert "tune has 3 examples now" in out
    assert len(load_config(file).events["tune"].examples) == 3


@pytest.mark.real
def test_a_script_gets_what_learn_says_and_its_warnings(house, capsys):
    file = house / "house.yaml"
    code, out, _ = run(capsys, "tune", "--from", house / "tune0.wav", "--config", file, "--dry-run", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["event"] == "tune"
    assert told["says"][0] == "tune0.wav: 1.7 s of sound in 3.5 s"
    assert told["says"][-1] == "nothing was written"
    assert not any("warning" in line for line in told["says"] + told["warnings"])
    assert file.read_text() == CONFIG


@pytest.mark.real
async def test_a_reload_with_examples_keeps_embeddings_until_a_file_changes(house):
    loads = []

    class Counted:
        def __init__(self):
            self._encoder = load_encoder(EncoderConfig())

        def __getattr__(self, name):
            return getattr(self._encoder, name)

        def embed_audio(self, windows):
            loads.append(len(windows))
            return self._encoder.embed_audio(windows)

    file = house / "house.yaml"
    file.write_text(CONFIG.replace("  # the end", "  tune: {examples: [tune0.wav, tune1.wav]}"))
    scorer = Scorer(lambda _: Counted())
    try:
        first = await scorer.prepare(load_config(file))
        scorer.use(first)
        assert len(loads) == 3
        assert (await scorer.prepare(load_config(file))).heard.examples.keys() == first.heard.examples.keys()
        assert len(loads) == 3
        shutil.copy(house / "tune2.wav", house / "tune1.wav")
        await scorer.prepare(load_config(file))
        assert len(loads) == 4
        (house / "tune0.wav").unlink()
        with pytest.raises(
            ConfigError, match=r"events\.tune\.examples\[0\]: '.*tune0\.wav' can't be read: No"
        ):
            await scorer.prepare(load_config(file))
    finally:
        scorer.close()


@pytest.mark.real
def test_learn_names_the_clip_that_is_unlike_the_others(house, capsys, shared):
    stranger = next((shared / "audio" / "esc10" / "rain").iterdir())
    clips = [*sorted(house.glob("tune*.wav")), stranger]
    code, out, _ = run(
        capsys, "tune", "--from", *clips, "--config", house / "house.yaml", "--dry-run", "--room", stranger
    )
    assert code == 0
    assert f"warning: {stranger.name} is unlike the others" in out
    assert f"room: {stranger.name} scores" in out
    assert out.endswith("nothing was written\n")
    assert (house / "house.yaml").read_text() == CONFIG


@pytest.mark.real
def test_a_clip_is_learned_once_however_its_path_is_written(house, capsys):
    (house / "link.wav").symlink_to("tune0.wav")
    clips = [house / "tune0.wav", house / "link.wav", house / "." / ".." / house.name / "tune0.wav"]
    code, out, _ = run(capsys, "tune", "--from", *clips, "--config", house / "house.yaml")
    assert code == 0
    assert "one example only" in out
    assert load_config(house / "house.yaml").events["tune"].examples == (house / "tune0.wav",)


def test_copies_that_would_be_one_file_are_refused_and_nothing_is_copied(house, capsys):
    (house / "other").mkdir()
    shutil.copy(house / "tune1.wav", house / "other" / "tune0.wav")
    clips = house / "tune0.wav", house / "other" / "tune0.wav"
    more = "--config", house / "house.yaml", "--copy-to", house / "kept"
    code, out, err = run(capsys, "tune", "--from", *clips, *more)
    assert (code, out) == (2, "")
    first, second = map(str, clips)
    assert err == f"--copy-to: {first!r} and {second!r} would be one file there; rename one of them\n"
    assert not (house / "kept").exists()


@pytest.mark.real
def test_learn_copies_only_when_asked(house, capsys):
    folder = house / "kept"
    code, _, _ = run(
        capsys, "tune", "--from", house / "tune0.wav", "--config", house / "house.yaml", "--copy-to", folder
    )
    assert code == 0
    assert load_config(house / "house.yaml").events["tune"].examples == (folder / "tune0.wav",)
    assert (folder / "tune0.wav").read_bytes() == (house / "tune0.wav").read_bytes()


@pytest.mark.parametrize(
    ("name", "clip", "more", "says"),
    [
        (
            "My Tune",
            "tune0.wav",
            [],
            "NAME: 'My Tune' is not a plain name (a-z, 0-9 and _, at most 64); write my_tune",
        ),
        (
            "dog",
            "tune0.wav",
            ["--prompts", "a hound"],
            "--prompts: dog is there already; change its prompts in",
        ),
        ("tune", "none.wav", [], "none.wav' can't be read: No such file or directory"),
        ("tune", "house.yaml", [], "is no WAV, FLAC, OGG or MP3 that can be read"),
        ("tune", "silence.wav", [], "silence.wav' holds silence only; record the sound again, louder"),
    ],
)
def test_what_learn_cannot_do_is_told_in_one_line_and_changes_nothing(name, clip, more, says, house, capsys):
    soundfile.write(house / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    file = house / "house.yaml"
    code, _, err = run(capsys, name, "--from", house / clip, "--config", file, *more)
    assert code in (1, 2)
    assert says in err
    assert err.count("\n") == 1
    assert file.read_text() == CONFIG
    assert sorted(path.name for path in house.iterdir() if path.suffix != ".wav") == ["house.yaml"]


@pytest.mark.real
def test_the_same_recording_twice_is_told(house, capsys):
    (house / "copy.wav").write_bytes((house / "tune0.wav").read_bytes())
    clips = [house / name for name in ("tune0.wav", "tune1.wav", "copy.wav")]
    code, out, _ = run(capsys, "tune", "--from", *clips, "--config", house / "house.yaml", "--dry-run")
    assert code == 0
    assert out.count("are the same recording") == 1
    assert "warning: tune0.wav and copy.wav are the same recording; leave one out" in out
