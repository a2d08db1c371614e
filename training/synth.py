"""Procedural sounds for training variety: alarms, machines, noises, impacts, instruments and synthetic speech.

    python -m training.synth --out /path/to/synth --soundfont FluidR3_GM.sf2

One folder per caption. Speech needs `espeak-ng`, instruments `fluidsynth`; either is left out where missing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

RATE = 48000
Rng = np.random.Generator
Array = np.ndarray


def seconds(duration: float) -> Array:
    return np.arange(int(duration * RATE)) / RATE


def colour(rng: Rng, duration: float, slope: float) -> Array:
    """Noise whose power falls with `slope` times 3 dB per octave (0 white, 1 pink, 2 brown)."""
    count = int(duration * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), count)
    return noise / np.std(noise)


def band(noise: Array, low: float, high: float) -> Array:
    sos = signal.butter(2, [low, min(high, 23000)], "bandpass", fs=RATE, output="sos")
    return signal.sosfilt(sos, noise)


def slow(rng: Rng, duration: float, rate_hz: float) -> Array:
    """A smooth random curve around 0 with unit deviation, moving about `rate_hz` times a second."""
    points = max(4, int(duration * rate_hz) + 3)
    curve = np.interp(
        np.linspace(0, points - 1, int(duration * RATE)), np.arange(points), rng.standard_normal(points)
    )
    return curve


def tone(frequency: Array | float, duration: float, harmonics: list[float] | None = None) -> Array:
    count = int(duration * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, count)) / RATE
    return sum(a * np.sin((k + 1) * phase) for k, a in enumerate(harmonics or [1.0]))


def pulses(duration: float, onsets: list[float], sound: Array) -> Array:
    out = np.zeros(int(duration * RATE))
    for onset in onsets:
        start = int(onset * RATE)
        piece = sound[: max(0, len(out) - start)]
        out[start : start + len(piece)] += piece
    return out


def ring(rng: Rng, base: float, partials: int, decay: float) -> Array:
    """A struck body: inharmonic partials that die away."""
    t = seconds(min(6 * decay, 4.0))
    out = np.zeros_like(t)
    for k in range(partials):
        ratio = (k + 1) ** rng.uniform(1.0, 1.3) * rng.uniform(0.97, 1.03)
        if base * ratio < 20000:
            out += (
                rng.uniform(0.2, 1)
                / (k + 1)
                * np.exp(-t * (1 + 0.6 * k) / decay)
                * np.sin(2 * np.pi * base * ratio * t)
            )
    return out


def both(first: Array, second: Array) -> Array:
    """Sum of two sounds that start together."""
    out = np.zeros(max(len(first), len(second)))
    out[: len(first)] += first
    out[: len(second)] += second
    return out


def thump(rng: Rng, low: float, high: float, decay: float) -> Array:
    t = seconds(6 * decay)
    return band(rng.standard_normal(len(t)), low, high) * np.exp(-t / decay)


def smoke_alarm(rng: Rng, duration: float) -> Array:
    f = rng.uniform(2800, 3500)
    beep = tone(f, 0.5, [1, rng.uniform(0, 0.4), rng.uniform(0, 0.3)])
    period = rng.choice([4.0, 4.0, 1.0])
    times = [0, 1, 2] if period == 4.0 else [0]
    start = rng.uniform(0, 1)
    return pulses(
        duration, [start + p * period + t for p in range(int(duration / period) + 1) for t in times], beep
    )


def carbon_monoxide(rng: Rng, duration: float) -> Array:
    beep = tone(rng.uniform(2800, 3500), 0.1, [1, rng.uniform(0, 0.4)])
    return pulses(duration, [rng.uniform(0, 1) + p * 5.7 + 0.2 * k for p in range(4) for k in range(4)], beep)


def reversing(rng: Rng, duration: float) -> Array:
    period = rng.uniform(0.8, 1.2)
    beep = tone(rng.uniform(900, 1500), period * 0.5, [1, 0.3, 0.2])
    return pulses(duration, list(np.arange(0, duration, period)), beep) + 0.1 * colour(rng, duration, 1.5)


def alarm_clock(rng: Rng, duration: float) -> Array:
    beep = np.sign(tone(rng.uniform(1500, 2600), 0.06)) * 0.6
    count = int(rng.integers(2, 5))
    gap = rng.uniform(0.1, 0.14)
    times = [g + k * gap for g in np.arange(0, duration, count * gap + 0.4) for k in range(count)]
    return pulses(duration, times, beep)


def siren(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    kind = rng.integers(0, 4)
    low, high = rng.uniform(450, 700), rng.uniform(1100, 1600)
    if kind == 0:
        f = low + (high - low) * 0.5 * (1 - np.cos(2 * np.pi * t / rng.uniform(3, 6)))
    elif kind == 1:
        f = low + (high - low) * ((t * rng.uniform(2.5, 4)) % 1)
    elif kind == 2:
        f = np.where((t * rng.uniform(0.8, 1.4)) % 1 < 0.5, low, low * 1.33)
    else:
        f = 420 * np.minimum(1, t / 4) + 60
    return tone(f, duration, [1, 0.6, 0.5, 0.3, 0.2]) + 0.05 * colour(rng, duration, 1)


def doorbell(rng: Rng, duration: float) -> Array:
    base = rng.uniform(500, 900)
    first, second = ring(rng, base * 1.26, 4, 0.5), ring(rng, base, 4, 0.7)
    start = rng.uniform(0, 1)
    return pulses(duration, [start, start + 3], first) + pulses(duration, [start + 0.6, start + 3.6], second)


def door_buzzer(rng: Rng, duration: float) -> Array:
    buzz = np.sign(tone(rng.choice([100, 120, 200]), rng.uniform(0.4, 1.5))) * 0.5
    return pulses(duration, [0.3, 2.5], buzz + 0.1 * rng.standard_normal(len(buzz)))


def telephone(rng: Rng, duration: float) -> Array:
    if rng.random() < 0.5:
        t = seconds(1.8)
        strike = (np.sin(2 * np.pi * 20 * t) > 0) * 1.0
        body = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(900, 3000, 5))
        burst = body * signal.lfilter([0.003], [1, -0.997], strike)
    else:
        notes = rng.choice([659, 784, 880, 988, 1175, 1319], int(rng.integers(4, 9)))
        burst = np.concatenate([tone(f, rng.choice([0.09, 0.18]), [1, 0.4, 0.3]) for f in notes])
    return pulses(duration, list(np.arange(0.1, duration, len(burst) / RATE + rng.uniform(0.3, 2))), burst)


def appliance_beep(rng: Rng, duration: float) -> Array:
    beep = tone(rng.uniform(1800, 2800), rng.uniform(0.1, 0.6), [1, 0.1, 0.2])
    period = rng.uniform(0.7, 1.5)
    return pulses(duration, [0.5 + period * k for k in range(int(rng.integers(1, 6)))], beep)


def end_tune(rng: Rng, duration: float) -> Array:
    scale = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12) * rng.uniform(500, 900)
    notes = rng.choice(scale, int(rng.integers(5, 12)))
    return sum(pulses(duration, [0.3 + k * 0.22], ring(rng, f, 3, 0.15)) for k, f in enumerate(notes))


def car_horn(rng: Rng, duration: float) -> Array:
    f = rng.uniform(330, 480)
    length = rng.uniform(0.2, 1.6)
    horn = tone(f, length, [1, 0.8, 0.9, 0.6, 0.5, 0.3]) + tone(
        f * rng.uniform(1.19, 1.27), length, [1, 0.7, 0.8, 0.5]
    )
    return pulses(duration, sorted(rng.uniform(0, duration - 1, int(rng.integers(1, 4)))), np.tanh(horn))


def engine(rng: Rng, duration: float) -> Array:
    base = rng.uniform(18, 90) * (1 + 0.15 * slow(rng, duration, 0.5))
    body = np.tanh(2 * tone(base, duration, list(rng.uniform(0.2, 1, 12))))
    return body + rng.uniform(0.1, 0.6) * band(colour(rng, duration, 1), 80, rng.uniform(1000, 5000)) * (
        1 + 0.5 * body
    )


def hum(rng: Rng, duration: float) -> Array:
    base = rng.choice([50.0, 60.0, 100.0, 120.0])
    return tone(base, duration, list(rng.uniform(0, 1, 8))) + 0.05 * colour(rng, duration, 1)


def fan(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    blade = 1 + rng.uniform(0.05, 0.4) * np.sin(2 * np.pi * rng.uniform(8, 60) * t)
    return band(colour(rng, duration, rng.uniform(0.5, 2)), 60, rng.uniform(1500, 9000)) * blade + 0.2 * tone(
        rng.uniform(90, 240), duration, [1, 0.5, 0.3]
    )


def vacuum(rng: Rng, duration: float) -> Array:
    f = rng.uniform(180, 420) * (1 + 0.02 * slow(rng, duration, 1))
    return tone(f, duration, [0.5, 0.3, 0.5, 0.2, 0.3, 0.2]) * 0.5 + band(
        colour(rng, duration, 0.6), 200, 9000
    )


def drill(rng: Rng, duration: float) -> Array:
    load = 1 + 0.2 * slow(rng, duration, 1.5)
    f = rng.uniform(90, 500) * load
    buzz = signal.sawtooth(2 * np.pi * np.cumsum(f) / RATE)
    return buzz + 0.5 * band(colour(rng, duration, 0.2), 1500, 12000) * (0.5 + np.abs(buzz))


def saw(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    stroke = np.abs(np.sin(np.pi * rng.uniform(1.0, 2.5) * t)) ** rng.uniform(1, 3)
    rasp = 0.6 + 0.4 * signal.sawtooth(2 * np.pi * rng.uniform(60, 250) * t * (0.7 + 0.3 * stroke))
    return band(colour(rng, duration, 0.3), rng.uniform(500, 1500), 9000) * stroke * rasp


def hiss(rng: Rng, duration: float) -> Array:
    level = np.exp(-seconds(duration) / rng.uniform(0.5, 8))
    return band(colour(rng, duration, 0), rng.uniform(1500, 4000), 18000) * level


def rain(rng: Rng, duration: float) -> Array:
    drops = np.zeros(int(duration * RATE))
    for _ in range(int(rng.uniform(30, 400) * duration)):
        drop = thump(rng, rng.uniform(1500, 5000), 14000, 0.003) * rng.exponential(0.6)
        start = int(rng.integers(0, len(drops) - len(drop)))
        drops[start : start + len(drop)] += drop
    return drops + rng.uniform(0.05, 0.5) * band(colour(rng, duration, 0.5), 400, 12000)


def wind(rng: Rng, duration: float) -> Array:
    gust = np.exp(0.8 * slow(rng, duration, 0.8))
    whistle = band(colour(rng, duration, 0), rng.uniform(300, 500), rng.uniform(600, 900))
    return (band(colour(rng, duration, 2), 30, 1200) + rng.uniform(0, 0.6) * whistle) * gust


def waves(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    swell = (0.5 + 0.5 * np.sin(2 * np.pi * t / rng.uniform(3.5, 8) + rng.uniform(0, 6))) ** 2 + 0.1
    return band(colour(rng, duration, 0.8), 100, 10000) * swell


def water(rng: Rng, duration: float) -> Array:
    out = rng.uniform(0.02, 0.4) * band(colour(rng, duration, 0.5), 500, 9000)
    for _ in range(int(rng.uniform(8, 50) * duration)):
        length = rng.uniform(0.01, 0.08)
        t = seconds(length)
        f = rng.uniform(400, 2500)
        blip = np.sin(2 * np.pi * f * t * (1 + rng.uniform(0, 6) * t)) * np.exp(-t * 5 / length)
        start = int(rng.integers(0, len(out) - len(t)))
        out[start : start + len(t)] += blip * rng.exponential(0.5)
    return out


def drip(rng: Rng, duration: float) -> Array:
    t = seconds(0.08)
    f = rng.uniform(700, 2200)
    plink = np.sin(2 * np.pi * f * t * (1 + 4 * t)) * np.exp(-t * 60)
    return pulses(duration, list(np.cumsum(rng.uniform(0.2, 1.5, 12))), plink)


def fire(rng: Rng, duration: float) -> Array:
    out = 0.15 * band(colour(rng, duration, 1.5), 40, 1200) * (1 + 0.3 * slow(rng, duration, 4))
    for _ in range(int(rng.uniform(5, 60) * duration)):
        crack = thump(rng, rng.uniform(800, 4000), 15000, rng.uniform(0.0005, 0.006)) * rng.exponential(0.7)
        start = int(rng.integers(0, len(out) - len(crack)))
        out[start : start + len(crack)] += crack
    return out


def steps(rng: Rng, duration: float) -> Array:
    period = rng.uniform(0.35, 0.75)
    times = np.arange(rng.uniform(0, 0.3), duration, period)
    step = thump(rng, 60, rng.uniform(400, 3000), rng.uniform(0.01, 0.05))
    return sum(pulses(duration, [t + 0.02 * rng.random()], step * rng.uniform(0.6, 1)) for t in times)


def knock(rng: Rng, duration: float) -> Array:
    hit = both(
        ring(rng, rng.uniform(90, 320), 7, rng.uniform(0.015, 0.05)), 0.4 * thump(rng, 100, 3000, 0.01)
    )
    start = rng.uniform(0, 1)
    return pulses(
        duration,
        [
            start + p + 0.01 * rng.random()
            for p in np.arange(int(rng.integers(2, 6))) * rng.uniform(0.15, 0.4)
        ],
        hit,
    )


def click(rng: Rng, duration: float) -> Array:
    hit = thump(rng, rng.uniform(1000, 3000), 14000, rng.uniform(0.0008, 0.004))
    times = np.cumsum(rng.uniform(0.15, 1.2, 14))
    return pulses(duration, list(times), hit) + pulses(
        duration, list(times + rng.uniform(0.05, 0.12)), hit * 0.5
    )


def typing(rng: Rng, duration: float) -> Array:
    out = np.zeros(int(duration * RATE))
    for at in np.cumsum(rng.gamma(2, rng.uniform(0.04, 0.12), 80)):
        hit = thump(rng, rng.uniform(500, 2500), 9000, rng.uniform(0.002, 0.008)) * rng.uniform(0.4, 1)
        out += pulses(duration, [at], hit)
    return out


def tick(rng: Rng, duration: float) -> Array:
    hit = ring(rng, rng.uniform(1500, 4500), 4, rng.uniform(0.003, 0.012))
    period = rng.choice([0.2, 0.25, 0.5, 1.0])
    times = np.arange(0.05, duration, period)
    return pulses(duration, list(times[::2]), hit) + pulses(
        duration, list(times[1::2]), hit * rng.uniform(0.5, 1)
    )


def bell(rng: Rng, duration: float) -> Array:
    hit = ring(rng, rng.uniform(150, 700), 9, rng.uniform(0.6, 1.5))
    return pulses(duration, list(np.arange(0.1, duration, rng.uniform(0.8, 3))), hit)


def glass(rng: Rng, duration: float) -> Array:
    start = rng.uniform(0, 2)
    out = pulses(duration, [start], thump(rng, 1000, 16000, 0.04) * 2)
    for _ in range(int(rng.integers(15, 60))):
        out += pulses(
            duration,
            [start + rng.exponential(0.25)],
            ring(rng, rng.uniform(2500, 9000), 4, 0.03) * rng.uniform(0.1, 1),
        )
    return out


def metal(rng: Rng, duration: float) -> Array:
    hit = both(ring(rng, rng.uniform(250, 1800), 12, rng.uniform(0.08, 0.5)), thump(rng, 500, 12000, 0.01))
    return pulses(duration, sorted(rng.uniform(0, duration - 1, int(rng.integers(1, 6)))), hit)


def explosion(rng: Rng, duration: float) -> Array:
    t = seconds(duration - 1)
    boom = band(colour(rng, duration - 1, 2), 25, 900) * np.exp(-t / rng.uniform(0.3, 1.5))
    return pulses(duration, [rng.uniform(0, 1)], np.tanh(3 * boom))


def whistle(rng: Rng, duration: float) -> Array:
    f = rng.uniform(900, 2600) * (1 + 0.12 * slow(rng, duration, rng.uniform(1, 4)))
    return tone(f, duration, [1, 0.05]) * (slow(rng, duration, 3) > -0.6) + 0.05 * colour(rng, duration, 0.5)


def kettle(rng: Rng, duration: float) -> Array:
    rise = np.minimum(1, seconds(duration) / rng.uniform(1, 4))
    f = rng.uniform(2000, 3300) * (0.8 + 0.2 * rise)
    return tone(f, duration, [1, 0.3]) * rise + 0.4 * band(colour(rng, duration, 0), 2000, 14000)


def birdsong(rng: Rng, duration: float) -> Array:
    out = np.zeros(int(duration * RATE))
    for at in np.cumsum(rng.gamma(1.5, 0.25, 16)):
        length = rng.uniform(0.04, 0.3)
        t = seconds(length)
        f = rng.uniform(2500, 6500) * (
            1 + rng.uniform(-0.3, 0.3) * t / length + 0.08 * np.sin(2 * np.pi * rng.uniform(10, 60) * t)
        )
        out += pulses(duration, [at], np.sin(2 * np.pi * np.cumsum(f) / RATE) * np.hanning(len(t)))
    return out


def crickets(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    carrier = tone(rng.uniform(3500, 6500), duration)[: len(t)]
    chirp = (np.sin(2 * np.pi * rng.uniform(20, 40) * t) > 0) * (
        (t * rng.uniform(0.8, 3)) % 1 < rng.uniform(0.3, 0.8)
    )
    return carrier * signal.lfilter([0.01], [1, -0.99], chirp) + 0.02 * colour(rng, duration, 1)


def insect(rng: Rng, duration: float) -> Array:
    f = rng.uniform(120, 600) * (1 + 0.08 * slow(rng, duration, 4))
    return tone(f, duration, [1, 0.8, 0.6, 0.5, 0.3, 0.2]) * np.exp(0.7 * slow(rng, duration, 1))


def room_tone(rng: Rng, duration: float) -> Array:
    return colour(rng, duration, rng.uniform(0.8, 2)) + rng.uniform(0, 0.5) * hum(rng, duration)


def static(rng: Rng, duration: float) -> Array:
    return band(colour(rng, duration, rng.uniform(0, 1)), rng.uniform(40, 800), rng.uniform(3000, 20000))


def pump(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    stroke = np.maximum(0, np.sin(2 * np.pi * rng.uniform(0.8, 6) * t)) ** 2
    return engine(rng, duration) * 0.5 + band(colour(rng, duration, 1), 60, 4000) * stroke * 2


def train(rng: Rng, duration: float) -> Array:
    clack = thump(rng, 60, 1800, 0.05)
    period = rng.uniform(0.5, 1.2)
    times = [t + d for t in np.arange(0, duration, period) for d in (0, 0.13)]
    return pulses(duration, times, clack * 2) + band(colour(rng, duration, 1.6), 30, 3000)


def helicopter(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    chop = np.maximum(0, np.sin(2 * np.pi * rng.uniform(9, 18) * t)) ** 3
    return band(colour(rng, duration, 1.5), 40, 2500) * (0.2 + chop) + 0.2 * tone(
        rng.uniform(200, 500), duration, [1, 0.5]
    )


def jet(rng: Rng, duration: float) -> Array:
    t = seconds(duration)
    level = np.exp(-(((t - duration * rng.uniform(0.2, 0.8)) / rng.uniform(1.5, 5)) ** 2))
    whine = tone(rng.uniform(1500, 3500) * (1.05 - 0.1 * t / duration), duration, [0.2, 0.1])
    return (band(colour(rng, duration, 1.2), 40, 6000) + whine) * (0.15 + level)


KINDS: dict[str, Callable[[Rng, float], Array]] = {
    "smoke alarm": smoke_alarm, "carbon monoxide alarm": carbon_monoxide, "reversing beeps": reversing,
    "alarm clock": alarm_clock, "siren": siren, "doorbell": doorbell, "door buzzer": door_buzzer,
    "telephone ringing": telephone, "microwave beep": appliance_beep, "washing machine end tune": end_tune,
    "car horn": car_horn, "engine": engine, "mains hum": hum, "fan": fan, "vacuum cleaner": vacuum, "drill": drill,
    "hand saw": saw, "hissing": hiss, "rain": rain, "wind": wind, "sea waves": waves, "water pouring": water,
    "water drops": drip, "crackling fire": fire, "footsteps": steps, "door knock": knock, "mouse click": click,
    "keyboard typing": typing, "clock tick": tick, "church bells": bell, "glass breaking": glass, "metal clang": metal,
    "explosion": explosion, "whistling": whistle, "kettle whistle": kettle, "chirping birds": birdsong,
    "crickets": crickets, "insects": insect, "room tone": room_tone, "static noise": static, "pump": pump,
    "train": train, "helicopter": helicopter, "airplane": jet,
}  # fmt: skip

SENTENCES = [
    "Good morning, did you sleep well?", "The train to the city leaves at half past nine.", "Please close the window.",
    "I will be home a little later today.", "Where did you put the keys?", "That was the best film this year!",
    "One, two, three, four, five, six, seven.", "Could you pass me the salt, please?", "Help! Somebody help me!",
    "The weather will be cloudy with some rain in the afternoon.", "Hello? Is anybody there?", "Stop that at once!",
    "Once upon a time there was an old king who had three daughters.", "No, no, no, I don't want to.",
]  # fmt: skip
VOICES = ["en-us", "en-gb", "de", "fr-fr", "es", "it", "ru", "pt", "nl", "pl", "sv", "tr"]
VARIANTS = ["", "+f2", "+f4", "+m3", "+m7", "+croak", "+whisper", "+klatt2"]


def speech(out: Path, rng: Rng, count: int) -> None:
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
    score = path.with_suffix(".mid")
    score.write_bytes(song)
    command = ["fluidsynth", "-ni", "-q", "-r", "48000", "-F", str(path), str(soundfont), str(score)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    score.unlink()


GENERAL_MIDI = ["piano", "bright piano", "electric grand piano", "honky tonk piano", "electric piano", "electric piano", "harpsichord", "clavinet", "celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone", "tubular bells", "dulcimer", "hammond organ", "percussive organ", "rock organ", "church organ", "reed organ", "accordion", "harmonica", "accordion", "acoustic guitar", "steel guitar", "jazz guitar", "electric guitar", "muted guitar", "overdriven guitar", "distorted guitar", "guitar harmonics", "acoustic bass", "bass guitar", "bass guitar", "fretless bass", "slap bass", "slap bass", "synth bass", "synth bass", "violin", "viola", "cello", "double bass", "tremolo strings", "pizzicato strings", "harp", "timpani", "string ensemble", "string ensemble", "synth strings", "synth strings", "choir", "choir", "synth voice", "orchestra hit", "trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section", "synth brass", "synth brass", "soprano saxophone", "saxophone", "saxophone", "baritone saxophone", "oboe", "english horn", "bassoon", "clarinet", "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle", "ocarina", "square lead", "saw lead", "calliope", "chiff lead", "charang", "voice lead", "fifths lead", "bass lead", "synth pad", "warm pad", "polysynth pad", "choir pad", "bowed pad", "metallic pad", "halo pad", "sweep pad", "synth rain", "soundtrack", "crystal synth", "atmosphere", "brightness", "goblins", "echoes", "sci fi", "sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipes", "fiddle", "shanai", "tinkle bell", "agogo", "steel drum", "woodblock", "taiko drum", "tom tom", "synth drum", "reverse cymbal", "guitar fret noise", "breath noise", "seashore", "bird tweet", "telephone ring", "helicopter", "applause", "gunshot"]


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
        instruments(args.out, rng, args.soundfont, GENERAL_MIDI)


if __name__ == "__main__":
    main()
