"""What the daemon of a chaos run is given when nothing is wrong: made-up scenes and a configuration."""

from pathlib import Path

import numpy as np
import soundfile

from monitor.sources.sounds import RATE_HZ, SOUNDS, make, room_tone

USERS = {"monitor": "right", "witness": "w"}


def compose(path: Path, seed: int, seconds: float) -> Path:
    """Write a busy made-up scene: every few seconds one of the everyday sounds."""
    rng = np.random.default_rng(seed)
    scene = 10.0 ** (-58.0 / 20.0) * room_tone(rng, seconds)
    at = round(rng.uniform(0.5, 2.0) * RATE_HZ)
    while at < len(scene):
        sound = make(str(rng.choice(list(SOUNDS))), rng)[: round(rng.uniform(1.5, 4.0) * RATE_HZ)]
        part = scene[at : at + len(sound)]
        part += 0.35 * sound[: len(part)]
        at += len(sound) + round(rng.uniform(1.0, 2.5) * RATE_HZ)
    soundfile.write(path, scene.astype(np.float32), RATE_HZ, subtype="PCM_16")
    return path


def configuration(folder: Path, link_port: int, *, microphone: bool) -> dict:
    """Return what the daemon is given when nothing is wrong: low thresholds, so that much is decided."""
    prompts = {
        "alarm": ["a smoke alarm beeping", "an electronic beep"],
        "siren": "a siren wailing",
        "bell": ["a doorbell ringing", "a bicycle bell"],
        "telephone": "a telephone ringing",
        "knocking": "knocking on a door",
        "dog": "a dog barking",
        "horn": "a car horn honking",
        "crickets": "crickets chirping",
    }
    events: dict = {
        name: {"prompts": words, "on_threshold": 0.3, "min_off_seconds": 0.5}
        for name, words in prompts.items()
    }
    events["siren"]["max_duration_seconds"] = 3
    events["dog"]["cooldown_seconds"] = 2
    sources: dict = {
        "hall": {"type": "file", "path": str(folder / "hall.wav"), "loop": True},
        "yard": {"type": "file", "path": str(folder / "yard.wav"), "loop": True},
        "shed": {"type": "file", "path": str(folder / "shed.flac"), "loop": True},
    }
    if microphone:
        sources["room"] = {"type": "microphone", "device": "room_mic", "stuck_seconds": 3}
    return {
        "sources": sources,
        "events": events,
        "smoothing": {"method": "none"},
        "mqtt": {
            "broker": "127.0.0.1",
            "port": link_port,
            "username": "monitor",
            "password": USERS["monitor"],
            "keepalive_seconds": 5,
        },
        "history": {"max_bytes": 5_000_000},
        "clips": {
            "directory": str(folder / "disk" / "clips"),
            "pre_seconds": 1,
            "post_seconds": 1,
            "max_bytes": 5_000_000,
        },
        "http": {"port": 0},
        "log": {"format": "json"},
        "state_directory": str(folder / "disk"),
    }
