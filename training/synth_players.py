"""Synthetic speech (espeak-ng) and instruments (fluidsynth)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from training.synth_basics import Rng

SENTENCES = [
    "Good morning, did you sleep well?", "The train to the city leaves at half past nine.",
    "Please close the window.",
    "I will be home a little later today.", "Where did you put the keys?",
    "That was the best film this year!",
    "One, two, three, four, five, six, seven.", "Could you pass me the salt, please?",
    "Help! Somebody help me!",
    "The weather will be cloudy with some rain in the afternoon.", "Hello? Is anybody there?",
    "Stop that at once!",
    "Once upon a time there was an old king who had three daughters.", "No, no, no, I don't want to.",
]  # fmt: skip
VOICES = ["en-us", "en-gb", "de", "fr-fr", "es", "it", "ru", "pt", "nl", "pl", "sv", "tr"]
VARIANTS = ["", "+f2", "+f4", "+m3", "+m7", "+croak", "+whisper", "+klatt2"]
GENERAL_MIDI = """
piano, bright piano, electric grand piano, honky tonk piano, electric piano, electric piano,
harpsichord, clavinet, celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular
bells, dulcimer, hammond organ, percussive organ, rock organ, church organ, reed organ, accordion,
harmonica, accordion, acoustic guitar, steel guitar, jazz guitar, electric guitar, muted guitar,
overdriven guitar, distorted guitar, guitar harmonics, acoustic bass, bass guitar, bass guitar,
fretless bass, slap bass, slap bass, synth bass, synth bass, violin, viola, cello, double bass,
tremolo strings, pizzicato strings, harp, timpani, string ensemble, string ensemble, synth strings,
synth strings, choir, choir, synth voice, orchestra hit, trumpet, trombone, tuba, muted trumpet,
french horn, brass section, synth brass, synth brass, soprano saxophone, saxophone, saxophone,
baritone saxophone, oboe, english horn, bassoon, clarinet, piccolo, flute, recorder, pan flute,
blown bottle, shakuhachi, whistle, ocarina, square lead, saw lead, calliope, chiff lead, charang,
voice lead, fifths lead, bass lead, synth pad, warm pad, polysynth pad, choir pad, bowed pad,
metallic pad, halo pad, sweep pad, synth rain, soundtrack, crystal synth, atmosphere, brightness,
goblins, echoes, sci fi, sitar, banjo, shamisen, koto, kalimba, bagpipes, fiddle, shanai, tinkle
bell, agogo, steel drum, woodblock, taiko drum, tom tom, synth drum, reverse cymbal, guitar fret
noise, breath noise, seashore, bird tweet, telephone ring, helicopter, applause, gunshot
"""
INSTRUMENTS = [name.strip() for name in GENERAL_MIDI.split(",")]


def speech(out: Path, rng: Rng, count: int) -> None:
    """Speak random sentences with random voices."""
    for i in range(count):
        variant = str(rng.choice(VARIANTS))
        folder = out / ("whispering" if "whisper" in variant else "speech")
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(rng.choice(SENTENCES, 2))
        voice, speed, pitch = (
            f"{rng.choice(VOICES)}{variant}",
            int(rng.integers(120, 220)),
            int(rng.integers(15, 95)),
        )
        command = [
            "espeak-ng",
            "-v",
            voice,
            "-s",
            str(speed),
            "-p",
            str(pitch),
            "-w",
            str(folder / f"{i}.wav"),
            text,
        ]
        subprocess.run(command, check=False)


def variable(value: int) -> bytes:
    """MIDI's variable-length number."""
    return bytes([0x80 | (value >> 7), value & 0x7F]) if value > 127 else bytes([value])


def midi(program: int, channel: int, notes: list[tuple[int, int]]) -> bytes:
    """One track, 480 ticks a quarter at 120 a minute; notes are (pitch, ticks)."""
    track = bytes([0, 0xC0 | channel, program])
    for pitch, ticks in notes:
        track += bytes([0, 0x90 | channel, pitch, 100]) + variable(ticks) + bytes([0x80 | channel, pitch, 0])
    track += bytes([0, 0xFF, 0x2F, 0])
    return (
        b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 1, 0xE0]) + b"MTrk" + len(track).to_bytes(4, "big") + track
    )


def instruments(out: Path, rng: Rng, soundfont: Path, names: list[str]) -> None:
    """Play random notes on all instruments of a soundfont."""
    for program, name in enumerate(names):
        folder = out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        low = 36 if "bass" in name else 55
        notes = [
            (int(low + rng.choice([0, 2, 4, 5, 7, 9, 12, 14])), int(rng.choice([240, 480, 960])))
            for _ in range(12)
        ]
        render(folder / "0.wav", midi(program, 0, notes), soundfont)
    for i in range(30):
        folder = out / "drums"
        folder.mkdir(parents=True, exist_ok=True)
        notes = [
            (int(p), int(rng.choice([120, 240, 480])))
            for p in rng.choice(np.arange(35, 82), int(rng.integers(1, 5)))
        ] * 8
        render(folder / f"{i}.wav", midi(0, 9, notes), soundfont)


def render(path: Path, song: bytes, soundfont: Path) -> None:
    """Render a score with fluidsynth."""
    score = path.with_suffix(".mid")
    score.write_bytes(song)
    command = ["fluidsynth", "-ni", "-q", "-r", "48000", "-F", str(path), str(soundfont), str(score)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    score.unlink()
