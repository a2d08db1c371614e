"""ESC-50's clips in the shared audio folder: paths, folds, licences and samples."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.audio import PERMISSIVE, RATE_HZ


@dataclass(frozen=True)
class Clip:
    """One recording of ESC-50."""

    path: Path
    label: str
    fold: int
    permissive: bool


ESC_LABELS = [
    "dog",
    "rooster",
    "pig",
    "cow",
    "frog",
    "cat",
    "hen",
    "insects",
    "sheep",
    "crow",
    "rain",
    "sea_waves",
    "crackling_fire",
    "crickets",
    "chirping_birds",
    "water_drops",
    "wind",
    "pouring_water",
    "toilet_flush",
    "thunderstorm",
    "crying_baby",
    "sneezing",
    "clapping",
    "breathing",
    "coughing",
    "footsteps",
    "laughing",
    "brushing_teeth",
    "snoring",
    "drinking_sipping",
    "door_wood_knock",
    "mouse_click",
    "keyboard_typing",
    "door_wood_creaks",
    "can_opening",
    "washing_machine",
    "vacuum_cleaner",
    "clock_alarm",
    "clock_tick",
    "glass_breaking",
    "helicopter",
    "chainsaw",
    "siren",
    "car_horn",
    "engine",
    "train",
    "church_bells",
    "airplane",
    "fireworks",
    "hand_saw",
]


def label_text(label: str) -> str:
    """`crying_baby` -> `crying baby`."""
    return label.replace("_", " ")


def esc_clips(shared: Path) -> list[Clip]:
    """All clips of folds 1-4, each once (the 44.1 kHz file where there are two)."""
    found: dict[str, Clip] = {}
    with (shared / "audio" / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["path"].split("/")[0] not in {"esc10", "esc50"}:
                continue
            path = shared / "audio" / row["path"]
            key = "-".join(path.stem.removesuffix("_16k").split("-")[:3]) + row["label"]
            if key not in found or found[key].path.stem.endswith("_16k"):
                found[key] = Clip(
                    path, row["label"], int(path.name[0]), PERMISSIVE.search(row["licence"]) is not None
                )
    return list(found.values())


def samples_of(path: Path) -> np.ndarray:
    """Mono float32 at 48 kHz."""
    data, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = data.mean(axis=1)
    return mono if rate_hz == RATE_HZ else soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ")
