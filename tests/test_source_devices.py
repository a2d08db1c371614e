"""Which input a `device:` string means, on made-up machines."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SourceError
from monitor.sources.devices import InputDevice, list_inputs, match, selector


def device(index, name, card=None, api="ALSA", *, default=False):
    return InputDevice(index, name, api, channels=2, default_rate_hz=48_000, is_default=default, card=card)


PI = [
    device(0, "bcm2835 Headphones: - (hw:0,0)", "Headphones"),
    device(1, "USB PnP Sound Device: Audio (hw:1,0)", "Device"),
    device(2, "USB PnP Sound Device: Audio (hw:2,0)", "Device_1"),
    device(3, "ReSpeaker 4 Mic Array (UAC1.0): USB Audio (hw:3,0)", "ArrayUAC10"),
    device(4, "sysdefault"),
    device(5, "default", default=True),
]
WINDOWS = [
    device(0, "Microphone (Yeti)", api="MME", default=True),
    device(1, "Microphone (Yeti)", api="Windows WASAPI"),
    device(2, "Line In (Realtek)", api="MME"),
]


@pytest.mark.parametrize(
    ("inputs", "string", "index"),
    [
        (PI, None, 5),
        (PI, "respeaker", 3),
        (PI, "ReSpeaker 4 Mic", 3),
        (PI, "  mic array ", 3),
        (PI, "default", 5),
        (PI, "Device", 1),
        (PI, "device_1", 2),
        (PI, "hw:CARD=Device_1,DEV=0", 2),
        (PI, "hw:CARD=Device,", 1),
        (PI, "card=arrayuac10", 3),
        (PI, "bcm2835 Headphones: - (hw:0,0)", 0),
        (WINDOWS, None, 0),
        (WINDOWS, "Yeti), Windows WASAPI", 1),
        (WINDOWS, "Microphone (Yeti), MME", 0),
        (WINDOWS, "realtek", 2),
    ],
)
def test_a_string_means_one_input(inputs, string, index):
    assert match(string, inputs).index == index


LISTING = "run `sound-monitor devices` to see them all"
PI_NAMES = ", ".join(repr(each.name) for each in PI)
TWO = f"{PI[1].name!r}, {PI[2].name!r}"
YETIS = "'Microphone (Yeti), MME', 'Microphone (Yeti), Windows WASAPI'"
NUMBERS = f"numbers change when devices come and go, use a part of the name; {LISTING}"
NO_INPUTS = "no input device is there: plug one in; a service needs the group `audio`"


@pytest.mark.parametrize(
    ("inputs", "string", "error"),
    [
        (
            PI,
            "webcam",
            f"device 'webcam' is not there, or held by another program (there are {PI_NAMES}); {LISTING}",
        ),
        (
            PI,
            "usb pnp",
            f"device 'usb pnp' matches 2 inputs ({TWO}): use a longer part; {LISTING}",
        ),
        (
            WINDOWS,
            "Microphone (Yeti)",
            f"device 'Microphone (Yeti)' matches 2 inputs ({YETIS}): use a longer part; {LISTING}",
        ),
        (PI, "1", f"device '1': {NUMBERS}"),
        (PI, " ", f"device ' ': {NUMBERS}"),
        (
            PI[:1],
            None,
            f"the system has no default input: set `device` to one of {PI[0].name!r}; {LISTING}",
        ),
        ([], "usb", NO_INPUTS),
        ([], None, NO_INPUTS),
    ],
    ids=["none", "several", "same name", "number", "blank", "no default", "no inputs", "no inputs, default"],
)
def test_what_does_not_mean_one_input_is_refused(inputs, string, error):
    with pytest.raises(SourceError) as caught:
        match(string, inputs)
    assert str(caught.value) == error


def test_a_long_list_is_cut():
    many = [device(index, f"input {index} of many") for index in range(30)]
    with pytest.raises(SourceError, match=r"'input 7 of many' and 22 more\); run"):
        match("microphone", many)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (
            PI,
            [
                "bcm2835 Headphones",
                "Device",
                "Device_1",
                "ReSpeaker 4 Mic Array (UAC1.0): USB Audio",
                "sysdefault",
                "default",
            ],
        ),
        (WINDOWS, ["Microphone (Yeti), MME", "Microphone (Yeti), Windows WASAPI", "Line In (Realtek)"]),
        ([WINDOWS[0], WINDOWS[0]], [None, None]),
    ],
    ids=["pi", "windows", "indistinguishable"],
)
def test_the_selector_is_lasting_and_short(inputs, expected):
    assert [selector(each, inputs) for each in inputs] == expected


NAMES = st.text(st.sampled_from("abAB 1:-(),"), min_size=1, max_size=6)


@given(st.lists(st.tuples(NAMES, st.none() | st.sampled_from(["a", "Device", "B1"])), min_size=1, max_size=6))
def test_a_selector_selects_exactly_its_input(machine):
    inputs = [device(index, name, card) for index, (name, card) in enumerate(machine)]
    for each in inputs:
        string = selector(each, inputs)
        assert string is None or match(string, inputs) == each


def test_a_device_survives_its_json_form():
    assert InputDevice.from_json(PI[1].to_json()) == PI[1]


class TestListing:
    def test_missing_portaudio_is_told_with_its_remedy(self, tmp_path, monkeypatch):
        (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(SourceError) as caught:
            list_inputs()
        assert str(caught.value) == (
            "PortAudio, which talks to sound cards, is missing (PortAudio library not found): "
            "apt install libportaudio2"
        )

    def test_a_helper_that_dies_is_an_error(self, tmp_path, monkeypatch):
        (tmp_path / "sounddevice.py").write_text("import os; os._exit(134)")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(SourceError, match="the capture process died before it answered"):
            list_inputs()

    def test_a_helper_that_cannot_start_is_an_error(self, monkeypatch):
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(
            SourceError, match="the capture process can't be started: No such file or directory"
        ):
            list_inputs()

    def test_a_helper_that_hangs_is_an_error_in_time(self, tmp_path, monkeypatch):
        (tmp_path / "sounddevice.py").write_text("import time; time.sleep(60)")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr("monitor.sources.helper._ANSWER_SECONDS", 0.5)
        with pytest.raises(SourceError, match=r"PortAudio didn't answer within 0.5 s"):
            list_inputs()


def test_the_capture_helper_starts_without_heavy_imports():
    import subprocess

    code = "import sys, monitor.sources.capture; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pydantic", "torch", "asyncio"} & set(modules.split())
