"""Procedural sounds for variety: alarms, machines, noises, impacts, instruments and synthetic speech.

    python -m training.synth --out /path/to/synth --soundfont FluidR3_GM.sf2

One folder per caption. Speech needs `espeak-ng`, instruments `fluidsynth`; either is left out where missing.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from training import synth_basics
from training import synth_machines as machines
from training import synth_nature as nature
from training.synth_basics import RATE, Array, Rng
from training.synth_players import INSTRUMENTS, instruments, speech

KINDS: dict[str, Callable[[Rng, float], Array]] = {
    "smoke alarm": machines.smoke_alarm,
    "carbon monoxide alarm": machines.carbon_monoxide,
    "reversing beeps": machines.reversing,
    "alarm clock": machines.alarm_clock,
    "siren": machines.siren,
    "doorbell": machines.doorbell,
    "door buzzer": machines.door_buzzer,
    "telephone ringing": machines.telephone,
    "microwave beep": machines.appliance_beep,
    "washing machine end tune": machines.end_tune,
    "car horn": machines.car_horn,
    "engine": machines.engine,
    "mains hum": synth_basics.hum,
    "fan": machines.fan,
    "vacuum cleaner": machines.vacuum,
    "drill": machines.drill,
    "hand saw": machines.saw,
    "hissing": nature.hiss,
    "rain": nature.rain,
    "wind": nature.wind,
    "sea waves": nature.waves,
    "water pouring": nature.water,
    "water drops": nature.drip,
    "crackling fire": nature.fire,
    "footsteps": nature.steps,
    "door knock": nature.knock,
    "mouse click": nature.click,
    "keyboard typing": nature.typing,
    "clock tick": nature.tick,
    "church bells": nature.bell,
    "glass breaking": nature.glass,
    "metal clang": nature.metal,
    "explosion": nature.explosion,
    "whistling": nature.whistle,
    "kettle whistle": nature.kettle,
    "chirping birds": nature.birdsong,
    "crickets": nature.crickets,
    "insects": nature.insect,
    "room tone": nature.room_tone,
    "static noise": nature.static,
    "pump": machines.pump,
    "train": machines.train,
    "helicopter": machines.helicopter,
    "airplane": machines.jet,
}


def main() -> None:
    """Write every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--soundfont", type=Path)
    parser.add_argument("--each", type=int, default=14)
    args = parser.parse_args()
    rng = np.random.default_rng(11)
    for name, make in KINDS.items():
        folder = args.out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(args.each):
            sound = np.asarray(make(rng, 6.0), dtype=np.float64)
            peak = np.max(np.abs(sound))
            soundfile.write(folder / f"{i}.wav", (0.7 * sound / max(peak, 1e-9)).astype(np.float32), RATE)
    if shutil.which("espeak-ng"):
        speech(args.out, rng, 150)
    if args.soundfont and shutil.which("fluidsynth"):
        instruments(args.out, rng, args.soundfont, INSTRUMENTS)


if __name__ == "__main__":
    main()
