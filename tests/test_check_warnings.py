"""What `sound-monitor check` warns of, and that it does so for a reason only."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_kit import configure, warnings
from tones import write_scene

from monitor.check import report
from monitor.config_file import load_config


def test_an_absent_ffmpeg_is_warned_of(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    config = configure(sources={"cam": {"type": "ffmpeg", "url": "rtsp://cam/1"}})
    assert "sources.cam.type: ffmpeg is not installed here; apt install ffmpeg" in warnings(config)


def test_a_looped_file_shorter_than_a_window_is_warned_of(tmp_path):
    path = write_scene(tmp_path / "beep.wav", (500, 0.9))

    def looped(**windows):
        return configure(sources={"tape": {"type": "file", "path": str(path), "loop": True}}, windows=windows)

    says = "lasts 0.9 s and fills no window of 2 s, so nothing is scored; loop a longer one"
    assert warnings(looped()) == [f"sources.tape.path: {path} {says}"]
    assert warnings(looped(window_seconds=0.9)) == []


def event(**settings):
    return configure({"dog": {"prompts": "a dog barking", **settings}})


NOT_THERE = "is not there, or can't be seen by this user; put it there, or mend the path"
A_FOLDER = "is a folder; name a file in it"
A_MODEL = "name one, a model of the Hugging Face hub (owner/name), or compact"
SLIPS = {
    "events.dog.min_on_seconds: 0.2 is less than a hop and counts as 0.5": event(min_on_seconds=0.2),
    "events.dog.min_off_seconds: 0.1 is less than a hop and counts as 0.5": event(min_off_seconds=0.1),
    (
        "events.dog.max_duration_seconds: 3 ends the event as soon as it begins; make it longer than "
        "min_on_seconds (5) and a hop (0.5)"
    ): event(min_on_seconds=5, max_duration_seconds=3),
    (
        "events.dog.cooldown_seconds: 1 has no effect, since min_off_seconds and a hop pass anyway "
        "(1.5 in all); raise or remove it"
    ): event(cooldown_seconds=1),
    (
        "events.dog: is told up to 182.5 s after its beginning, and clips reach back 60 s from then: they "
        "lack it; shorten min_on_seconds, or set clip: false"
    ): configure({"dog": {"prompts": "a dog barking", "min_on_seconds": 180}}, clips={"directory": "clips"}),
    "events.dog.on_threshold: 0.99 is hardly ever reached; lower it": event(on_threshold=0.99),
    "events.dog.off_threshold: 0 is never undercut, so the event never ends; raise it": event(
        off_threshold=0
    ),
    "events.dog: a median over 0.6 s is of one window only; lengthen it": event(
        smoothing={"method": "median", "seconds": 0.6}
    ),
    "events.dog: min_level_dbfs -3 mutes nearly every sound; lower it, to -60 say": event(min_level_dbfs=-3),
    "events.dog.prompts: 'a dog' is there 2 times; keep one": event(prompts=["a dog", "A dog"]),
    (
        "events.dog.prompts: 'a dog barking' is among its own negatives ('the sound of dogs barking'); "
        "remove one of them"
    ): event(negatives="the sound of dogs barking"),
    (
        "events.talk.prompts: 'People talking.' is a background phrase too ('people talking'); "
        "list background without it"
    ): configure({"talk": "People talking."}),
    (
        "events.dog and events.hound: nearly the same prompt ('a dog barking' and 'the sound of a dog that "
        "barks'), so both will begin together; word them apart, or keep one"
    ): configure({"dog": "a dog barking", "hound": ["howling", "the sound of a dog that barks"]}),
    "events.dog.negatives: have no effect with scoring: exclusive; remove them": configure(
        {"dog": {"prompts": "a dog", "negatives": "a cat"}, "cow": "moo"}, scoring="exclusive"
    ),
    "sources.hall: no event listens on it; remove it, or add it to an event's sources": configure(
        {"dog": {"prompts": "a dog", "sources": "room"}}, {"room": {}, "hall": {"channel": 2}}
    ),
    "sources: room, hall are the same input; give each its own device or channel": configure(
        sources={"room": {}, "hall": {}}
    ),
    f"sources.tape.path: /nowhere/a.wav {NOT_THERE}": configure(
        sources={"tape": {"type": "file", "path": "/nowhere/a.wav"}}
    ),
    f"sources.tape.url: /nowhere/a.mp4 {NOT_THERE}": configure(
        sources={"tape": {"type": "ffmpeg", "url": "/nowhere/a.mp4"}}
    ),
    "sources.esp.listen: [::]:40 lets anyone in that network send sound; is it to be trusted?": configure(
        sources={"esp": {"type": "pcm", "listen": "[::]:40"}}
    ),
    "sources.tape: loop without realtime keeps a processor busy for ever; mend one": configure(
        sources={"tape": {"type": "file", "path": __file__, "loop": True, "realtime": False}}
    ),
    (
        "http.host: 0.0.0.0 shows the page and the metrics to the network, without a token; "
        "set http.token_file, or use 127.0.0.1 and a proxy, unless you trust the network"
    ): configure(http={"host": "0.0.0.0"}),
    (
        "mqtt.broker: embedded is reached from this machine only; name your broker's host for Home "
        "Assistant elsewhere"
    ): configure(mqtt={}),
    f"sources.tape.path: /tmp {A_FOLDER}": configure(sources={"tape": {"type": "file", "path": "/tmp"}}),
    f"sources.tape.url: /tmp {A_FOLDER}": configure(sources={"tape": {"type": "ffmpeg", "url": "/tmp"}}),
    "sources.tape.path: /dev/zero is a pipe or a device; name a recording": configure(
        sources={"tape": {"type": "file", "path": "/dev/zero"}}
    ),
    f"events.dog.examples[0]: /tmp {A_FOLDER}": event(examples=["/tmp"]),
    f"mqtt.tls.ca_file: /tmp {A_FOLDER}": configure(mqtt={"broker": "lan", "tls": {"ca_file": "/tmp"}}),
    f"http.token_file: /tmp {A_FOLDER}": configure(http={"token_file": "/tmp"}),
    "commands.lamp.run: /tmp is a folder; name the program in it": configure(
        commands={"lamp": {"run": ["/tmp"]}}
    ),
    f"encoder.model: there is no folder {Path.cwd()}/nodir; {A_MODEL}": configure(
        encoder={"model": "./nodir"}
    ),
    f"encoder.model: there is no folder {Path.cwd()}/clap; {A_MODEL}": configure(encoder={"model": "clap"}),
    "privacy.veto: has no effect where no clips are kept; add clips, or remove it": configure(
        privacy={"veto": "a person speaking"}
    ),
    f"mqtt.password_file: /nowhere/pw {NOT_THERE}": configure(
        mqtt={"broker": "127.0.0.1", "username": "me", "password_file": "/nowhere/pw"}
    ),
}


@pytest.mark.parametrize("says", SLIPS, ids=lambda says: says[:50])
def test_a_slip_is_warned_of_alone(says):
    assert warnings(SLIPS[says]) == [says]


@pytest.mark.parametrize(
    "config",
    [
        event(min_on_seconds=0.5, min_off_seconds=0, cooldown_seconds=5, max_duration_seconds=60),
        configure({"dog": "a dog barking", "door": "a door slamming", "bell": "a door bell ringing"}),
        configure(
            {
                "dog": {"prompts": "a dog", "sources": "room"},
                "hound": {"prompts": "a dog", "sources": "yard"},
            },
            {"room": {}, "yard": {"device": "USB"}},
        ),
        configure({"dog": {"prompts": "a dog barking", "min_on_seconds": 40}}, clips={"directory": "clips"}),
        configure(
            {"dog": {"prompts": "a dog barking", "min_on_seconds": 180, "clip": False}},
            clips={"directory": "clips"},
        ),
        configure(http={"host": "::1"}),
        configure(http={"host": "0.0.0.0", "enabled": False}),
        configure(mqtt={"broker": "localhost"}),
        configure(http={"token_file": "/dev/zero"}),
        configure(encoder={"model": "laion/nope"}),
        configure(encoder={"model": "/tmp"}),
        configure(privacy={"veto": "a person speaking"}, clips={"directory": "clips"}),
    ],
    ids=lambda config: ", ".join(sorted(config.model_fields_set - {"sources", "mqtt"})),
)
def test_nothing_is_warned_of_without_reason(config):
    assert warnings(config) == []


@pytest.mark.parametrize(
    ("written", "warned"),
    [
        ("hunter2", True),
        ("'hunter2'", True),
        ("${MQTT_PASSWORD}", False),
        ('"${MQTT_PASSWORD}"', False),
    ],
)
@pytest.mark.parametrize("form", ["mqtt:\n  broker: localhost\n  username: me\n  password: {}\n"])
def test_a_password_in_the_file_is_warned_of_and_shown_nowhere(tmp_path, form, written, warned):
    path = tmp_path / "home.yaml"
    path.write_text("# password: example\nsources: {room: {}}\nevents: {dog: a dog}\n" + form.format(written))
    lines, warned_of = report(load_config(path, {"MQTT_PASSWORD": "hunter2"}), path)
    says = "mqtt.password: stands in the configuration; keep it in a password_file that only you can read"
    assert warned_of == ([says] if warned else [])
    assert "hunter2" not in "\n".join([*lines, *warned_of])


def test_a_password_without_tls_is_warned_of_unless_it_stays_on_the_machine(tmp_path):
    path = tmp_path / "home.yaml"
    path.write_text("")
    secret = {"username": "me", "password": "x"}
    says = "mqtt.tls: is off, so the password travels readably to lan; add  tls: {}"
    assert warnings(configure(mqtt={"broker": "lan", **secret}), path) == [says]
    assert warnings(configure(mqtt={"broker": "lan", "tls": {}, **secret}), path) == []
    assert warnings(configure(mqtt={"broker": "localhost", **secret}), path) == []


def test_a_command_that_is_not_there_and_a_token_that_is_not_there_are_warned_of(tmp_path):
    run, token = tmp_path / "lampp", tmp_path / "token"
    config = configure(
        commands={"lamp": {"run": [str(run), "--blink"]}, "well": {"run": ["sh"]}},
        webhooks={"pager": {"url": "http://localhost/", "token_file": str(token)}},
    )
    assert warnings(config) == [
        f"webhooks.pager.token_file: {token} {NOT_THERE}",
        f"commands.lamp.run: {run} is not there, or not for this user to run; install it, or mend the path",
    ]
