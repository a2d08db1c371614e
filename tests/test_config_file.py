"""What a configuration file means once it is read: variables, types, paths, overlays, secrets."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.config import Config, EmaSmoothing, FileSource, MicrophoneSource
from monitor.config_file import load_config
from monitor.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
BASE = """\
sources: {room: {}}
events:
  dog: a dog barking
"""


@pytest.fixture
def load(tmp_path):
    """Write texts into files, the first of them `home.yaml`, and load them laid over each other."""

    def load(text, *overlays, environ=None):
        paths = [tmp_path / "home.yaml", *(tmp_path / f"over{n}.yaml" for n, _ in enumerate(overlays, 1))]
        for path, content in zip(paths, (text, *overlays), strict=True):
            path.write_text(content)
        return load_config(paths[0], environ or {}, paths[1:])

    return load


def refused(load, *texts, environ=None):
    with pytest.raises(ConfigError) as caught:
        load(*texts, environ=environ)
    return [line.split("/")[-1] for line in caught.value.lines]


def test_the_least_configuration_has_defaults_for_the_rest(load):
    config = load(BASE)
    assert config.sources == {"room": MicrophoneSource()}
    assert config.events["dog"].prompts == ("a dog barking",)
    assert config.smoothing == EmaSmoothing(seconds=0.4, fall_seconds=1.5)
    assert config.mqtt is not None
    assert config.mqtt.port_in_force == 1883


@pytest.mark.parametrize("form", ["purr", "[purr]", "{prompts: purr}", "{prompts: [purr]}"])
def test_every_form_of_an_event_means_the_same(load, form):
    assert load(f"{BASE}  cat: {form}\n") == load(f"{BASE}  cat: purr\n")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    file = tmp_path / "home.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_config(file, {}).events["dog"].prompts == ("a dog barking",)


def test_an_anchor_may_be_used_again(load):
    config = load(
        f"{BASE}  cat: {{prompts: meow, negatives: &n [purr, hiss]}}\n"
        "  cow: {prompts: moo, negatives: *n}\n"
    )
    assert config.events["cow"].negatives == ("purr", "hiss")


def test_an_anchor_bomb_is_refused_before_it_grows(load):
    levels = "\n".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))
    assert refused(load, f"events:\n  a0: &a0 [lol]\n{levels}\n") == [
        "home.yaml:2: *aliases make this too large; write it out"
    ]


def test_a_file_of_too_many_values_is_refused_before_it_is_read_to_its_end(load):
    assert refused(load, "a: [" + "1, " * 200_000) == [
        "home.yaml:1: is value number 50000; a configuration needs no more"
    ]


@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("${M}", "clap"),
        ("x/${M}-${N}", "x/clap-7"),
        ("${ABSENT:-compact}", "compact"),
        ("${EMPTY:-compact}", "compact"),
        ("${M:-compact}", "clap"),
        ("$${M}", "${M}"),
        ("$$$${M}", "$${M}"),
        ("$M costs $5", "$M costs $5"),
        ("'${M}'", "clap"),
        ("${N}", "7"),
        ("${YES}", "yes"),
        ("${LOOKS_LIKE_YAML}", "a: [b"),
        ("${NESTED}", "${M}"),
    ],
)
def test_variables_are_put_into_text(load, written, model):
    environ = {"M": "clap", "N": "7", "EMPTY": "", "YES": "yes", "LOOKS_LIKE_YAML": "a: [b", "NESTED": "${M}"}
    assert load(f"{BASE}encoder:\n  model: {written}\n", environ=environ).encoder.model == model


def test_variables_have_the_type_that_is_wanted(load):
    text = BASE + (
        "http: {port: '${PORT}', enabled: '${ON}'}\n"
        "mqtt:\n  broker: lan\n  username: ${DIGITS}\n  password: ${DIGITS}\n"
        "  port: ${PORT}\n  client_id: ${ON}\n"
    )
    config = load(text, environ={"PORT": "1884", "DIGITS": "0123", "ON": "on"})
    assert (config.http.port, config.http.enabled) == (1884, True)
    assert config.mqtt is not None
    assert (config.mqtt.username, config.mqtt.password) == ("0123", "0123")
    assert (config.mqtt.port, config.mqtt.client_id) == (1884, "on")


def test_an_empty_variable_leaves_an_optional_value_out(load):
    config = load(f"{BASE}mqtt:\n  username: ${{USER_NAME:-}}\n  password: ${{PASSWORD:-}}\n")
    assert config.mqtt is not None
    assert config.mqtt.username is None
    assert config.mqtt.password is None


def test_the_environment_is_the_process_own_unless_given(tmp_path, monkeypatch):
    monkeypatch.setenv("SOUND_MONITOR_TEST_MODEL", "folder")
    file = tmp_path / "home.yaml"
    file.write_text(f"{BASE}encoder:\n  model: ${{SOUND_MONITOR_TEST_MODEL}}\n")
    assert load_config(file).encoder.model == "folder"


def test_relative_paths_are_relative_to_the_file(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = load(
        "sources:\n  a: {type: file, path: a.wav}\n  b: {type: file, path: /abs/b.wav}\n"
        "  c: {type: file, path: ~/c.wav}\n"
        "events: {dog: woof}\nstate_directory: ../state\n"
        "mqtt: {broker: lan, username: me, password_file: secret, tls: {ca_file: ca.pem}}\n"
    )
    paths = [source.path for source in config.sources.values() if isinstance(source, FileSource)]
    assert paths == [tmp_path / "a.wav", Path("/abs/b.wav"), Path("/home/me/c.wav")]
    assert config.state_directory == tmp_path / "../state"
    assert config.mqtt is not None
    assert config.mqtt.tls is not None
    assert (config.mqtt.password_file, config.mqtt.tls.ca_file) == (tmp_path / "secret", tmp_path / "ca.pem")
    assert config.outbox.path == Path("outbox.db")


def test_relative_paths_are_made_whole_where_the_file_is_given_relatively(tmp_path, monkeypatch):
    (tmp_path / "home.yaml").write_text("sources: {a: {type: file, path: a.wav}}\nevents: {dog: woof}\n")
    monkeypatch.chdir(tmp_path)
    source = load_config(Path("home.yaml"), {}).sources["a"]
    assert isinstance(source, FileSource)
    assert source.path == tmp_path / "a.wav"


def test_overlays_are_merged_key_by_key_and_the_last_wins(load):
    config = load(
        f"{BASE}  cat: {{prompts: [meow, purr], on_threshold: 0.4}}\nwindows: {{hop_seconds: 1}}\n",
        "events: {dog: {on_threshold: 0.7}, cat: {prompts: hiss}}\nwindows: {window_seconds: 4}\n",
        "events: {dog: {on_threshold: 0.8}, cow: moo}\n",
    )
    assert config.events["dog"].prompts == ("a dog barking",)
    assert config.events["dog"].on_threshold == 0.8
    assert config.events["cat"].prompts == ("hiss",)
    assert config.events["cat"].on_threshold == 0.4
    assert config.events["cow"].prompts == ("moo",)
    assert (config.windows.window_seconds, config.windows.hop_seconds) == (4, 1)


def test_an_event_in_short_form_over_a_long_one_changes_its_words_only(load):
    config = load(f"{BASE}  cat: {{prompts: meow, on_threshold: 0.4}}\n", "events: {cat: [hiss, purr]}\n")
    assert config.events["cat"].prompts == ("hiss", "purr")
    assert config.events["cat"].on_threshold == 0.4


def test_an_error_names_the_file_that_it_comes_from(load):
    lines = refused(
        load,
        f"{BASE}  cat: {{prompts: meow, on_threshold: 0.4}}\nlog: {{level: loud}}\n",
        "# calibrated\nevents:\n  cat:\n    on_threshold: 1.2\n  dog:\n    off_treshold: 0.3\n",
    )
    assert lines == [
        "home.yaml:5: log.level: 'loud' is not one of debug, info, warning, error",
        "over1.yaml:4: events.cat.on_threshold: 1.2 is not between 0 and 1",
        "over1.yaml:6: events.dog.off_treshold: is not a known key; did you mean off_threshold?",
    ]


def test_an_event_that_only_an_overlay_tunes_is_taken_for_a_slip_in_its_name(load, tmp_path):
    tuned = "events:\n  dgo: {on_threshold: 0.7}\n  bird: {on_threshold: 0.3}\n"
    with pytest.raises(ConfigError) as caught:
        load(BASE, "log: {level: debug}\n", tuned)
    file, main = tmp_path / "over2.yaml", tmp_path / "home.yaml"
    assert caught.value.lines == (
        f"{file}:2: events.dgo: is not an event of {main}; did you mean dog?",
        f"{file}:3: events.bird: is not an event of {main}; mend or remove it, or add prompts",
    )


def test_an_empty_overlay_is_told_as_one(load):
    says = "over1.yaml: is empty; write what it changes, or leave it out"
    assert refused(load, BASE, "# later\n") == [says]


def test_a_list_of_an_overlay_replaces_the_list_and_its_lines(load):
    lines = refused(load, f"{BASE}background: [hum, hiss, rain]\n", "background:\n  - hum\n  - ''\n")
    assert lines == ["over1.yaml:3: background[1]: is empty; describe the sound in words"]


SECRET = "hunter2-correct-horse"


@pytest.mark.parametrize(
    "text",
    [
        "mqtt: {broker: lan, password: %s}",
        "mqtt: {broker: lan, password: [%s]}",
        "mqtt: {broker: lan, password: {%s: 1}}",
        "mqtt:\n  password:\n    %s:\n",
        "mqtt: {password: {%s: 1, %s: 2}}",
        "mqtt: {broker: lan, username: me, password: *%s}",
        "mqtt: {broker: lan, username: me, password: &%s}",
        "mqtt: {broker: lan, username: me, password: !%s x}",
        "mqtt: {broker: lan, username: me, password: '%s}",
        'mqtt: {broker: lan, username: me, password: "%s\\q"}',
        "mqtt: {broker: lan, username: me, password: @%s}",
        "mqtt: {broker: lan, username: me, password: a: %s: b}",
        "mqtt:\n  broker: lan\n  password: ${%s",
        "mqtt:\n  broker: lan\n  password: ${PASSWORD}",
        "http:\n  port: ${PASSWORD}",
        'mqtt:\n  broker: lan\n  username: me\n  password: ["${PASSWORD}"]',
        "mqtt: {broker: 'mqtts://me:%s@lan'}",
        "mqtt: {broker: lan, passwort: %s}",
        "password: %s",
        "api_token: %s",
    ],
)
def test_secrets_are_in_no_error(load, text):
    with pytest.raises(ConfigError) as caught:
        load(BASE + text.replace("%s", SECRET) + "\n", environ={"PASSWORD": SECRET})
    assert SECRET not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_is_not_shown_with_the_configuration(load, caplog):
    config = load(f"{BASE}mqtt: {{broker: lan, username: me, password: {SECRET}}}\n")
    logging.getLogger(__name__).warning("%s %r", config, config)
    assert "client_id='sound-monitor'" in caplog.text
    assert SECRET not in caplog.text


def test_a_name_for_secrets_in_an_event_hides_nothing(load):
    lines = refused(load, f"{BASE}  secret_knock: {{prompts: knock, on_threshold: 2}}\n")
    assert lines == ["home.yaml:4: events.secret_knock.on_threshold: 2 is not between 0 and 1"]


KEYS = st.sampled_from(
    sorted({*Config.model_fields, "room", "dog", "type", "path", "prompts", "method", "port"})
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["file", "demo", "ema", "median", "lan", "${A}", "${A:-1}", "$$", "a dog", "1.5", "~x"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
PLAUSIBLE = st.fixed_dictionaries(
    {"sources": st.dictionaries(KEYS, TREES, max_size=3), "events": st.dictionaries(KEYS, TREES, max_size=3)},
    optional={key: TREES for key in Config.model_fields if key not in ("sources", "events")},
)
TOKENS = r"""sources events : [ ] { } , &a *a !t ' " | > # %YAML 1.1 --- ... \ \x \U00110000 \ud800 <<
${ ${A} = ~ 0x1 .inf 2001-01-01 1_0 on a @ ` ? - ! & *"""
SPACES = [": ", "\n", "\n  ", "\n- ", "- ", "? ", "\t", "\x00", "\x85", "\u2028", "\ufeff", "\U0001f415"]
FRAGMENTS = st.lists(
    st.sampled_from(TOKENS.split() + SPACES) | st.text(max_size=5),
    max_size=40,
).map("".join)


def loads_or_says_why(file, data):
    file.write_bytes(data)
    try:
        outcome = load_config(file, {"A": "7"})
    except ConfigError as error:
        outcome = error
    if isinstance(outcome, ConfigError):
        assert outcome.lines
        for line in outcome.lines:
            assert line.startswith(str(file))
            assert line.isprintable()
    else:
        assert isinstance(outcome, Config)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=PLAUSIBLE | TREES)
def test_any_structure_is_a_configuration_or_a_configuration_error(tree, tmp_path):
    loads_or_says_why(
        tmp_path / "x.yaml", yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")
    )


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=FRAGMENTS)
def test_any_text_is_a_configuration_or_a_configuration_error(text, tmp_path):
    loads_or_says_why(tmp_path / "x.yaml", text.encode("utf-8", "replace"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_example_is_a_configuration_or_a_configuration_error(data, tmp_path):
    text = (ROOT / "config" / "every-key.yaml").read_bytes()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 60)))
    loads_or_says_why(tmp_path / "x.yaml", text[:start] + data.draw(st.binary(max_size=8)) + text[end:])


def test_a_thousand_events_are_loaded(tmp_path):
    file = tmp_path / "x.yaml"
    events = "".join(
        f"  event_{n}: {{prompts: [sound {n}, noise {n}], on_threshold: 0.4}}\n" for n in range(1000)
    )
    file.write_text(f"sources: {{room: {{}}}}\nevents:\n{events}")
    assert len(load_config(file, {}).events) == 1000


def test_loading_checking_and_the_schema_need_no_torch():
    code = (
        "import sys, monitor.config_file, monitor.check, monitor.schema;"
        "print(sorted({'torch', 'transformers', 'sounddevice', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
