"""Procedural alarms, signals, engines and tools."""

from __future__ import annotations

import numpy as np
from scipy import signal

from training.synth_basics import RATE, Array, Rng, band, colour, pulses, ring, seconds, slow, thump, tone


def smoke_alarm(rng: Rng, duration: float) -> Array:
    """Make smoke alarm."""
    f = rng.uniform(2800, 3500)
    beep = tone(f, 0.5, [1, rng.uniform(0, 0.4), rng.uniform(0, 0.3)])
    period = rng.choice([4.0, 4.0, 1.0])
    times = [0, 1, 2] if period == 4.0 else [0]
    start = rng.uniform(0, 1)
    return pulses(
        duration, [start + p * period + t for p in range(int(duration / period) + 1) for t in times], beep
    )


def carbon_monoxide(rng: Rng, duration: float) -> Array:
    """Make carbon monoxide."""
    beep = tone(rng.uniform(2800, 3500), 0.1, [1, rng.uniform(0, 0.4)])
    return pulses(duration, [rng.uniform(0, 1) + p * 5.7 + 0.2 * k for p in range(4) for k in range(4)], beep)


def reversing(rng: Rng, duration: float) -> Array:
    """Make reversing."""
    period = rng.uniform(0.8, 1.2)
    beep = tone(rng.uniform(900, 1500), period * 0.5, [1, 0.3, 0.2])
    return pulses(duration, list(np.arange(0, duration, period)), beep) + 0.1 * colour(rng, duration, 1.5)


def alarm_clock(rng: Rng, duration: float) -> Array:
    """Make alarm clock."""
    beep = np.sign(tone(rng.uniform(1500, 2600), 0.06)) * 0.6
    count = int(rng.integers(2, 5))
    gap = rng.uniform(0.1, 0.14)
    times = [g + k * gap for g in np.arange(0, duration, count * gap + 0.4) for k in range(count)]
    return pulses(duration, times, beep)


def siren(rng: Rng, duration: float) -> Array:
    """Make siren."""
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
    """Make doorbell."""
    base = rng.uniform(500, 900)
    first, second = ring(rng, base * 1.26, 4, 0.5), ring(rng, base, 4, 0.7)
    start = rng.uniform(0, 1)
    return pulses(duration, [start, start + 3], first) + pulses(duration, [start + 0.6, start + 3.6], second)


def door_buzzer(rng: Rng, duration: float) -> Array:
    """Make door buzzer."""
    buzz = np.sign(tone(rng.choice([100, 120, 200]), rng.uniform(0.4, 1.5))) * 0.5
    return pulses(duration, [0.3, 2.5], buzz + 0.1 * rng.standard_normal(len(buzz)))


def telephone(rng: Rng, duration: float) -> Array:
    """Make telephone."""
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
    """Make appliance beep."""
    beep = tone(rng.uniform(1800, 2800), rng.uniform(0.1, 0.6), [1, 0.1, 0.2])
    period = rng.uniform(0.7, 1.5)
    return pulses(duration, [0.5 + period * k for k in range(int(rng.integers(1, 6)))], beep)


def end_tune(rng: Rng, duration: float) -> Array:
    """Make end tune."""
    scale = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12) * rng.uniform(500, 900)
    notes = rng.choice(scale, int(rng.integers(5, 12)))
    return sum(pulses(duration, [0.3 + k * 0.22], ring(rng, f, 3, 0.15)) for k, f in enumerate(notes))


def car_horn(rng: Rng, duration: float) -> Array:
    """Make car horn."""
    f = rng.uniform(330, 480)
    length = rng.uniform(0.2, 1.6)
    horn = tone(f, length, [1, 0.8, 0.9, 0.6, 0.5, 0.3]) + tone(
        f * rng.uniform(1.19, 1.27), length, [1, 0.7, 0.8, 0.5]
    )
    return pulses(duration, sorted(rng.uniform(0, duration - 1, int(rng.integers(1, 4)))), np.tanh(horn))


def engine(rng: Rng, duration: float) -> Array:
    """Make engine."""
    base = rng.uniform(18, 90) * (1 + 0.15 * slow(rng, duration, 0.5))
    body = np.tanh(2 * tone(base, duration, list(rng.uniform(0.2, 1, 12))))
    return body + rng.uniform(0.1, 0.6) * band(colour(rng, duration, 1), 80, rng.uniform(1000, 5000)) * (
        1 + 0.5 * body
    )


def fan(rng: Rng, duration: float) -> Array:
    """Make fan."""
    t = seconds(duration)
    blade = 1 + rng.uniform(0.05, 0.4) * np.sin(2 * np.pi * rng.uniform(8, 60) * t)
    return band(colour(rng, duration, rng.uniform(0.5, 2)), 60, rng.uniform(1500, 9000)) * blade + 0.2 * tone(
        rng.uniform(90, 240), duration, [1, 0.5, 0.3]
    )


def vacuum(rng: Rng, duration: float) -> Array:
    """Make vacuum."""
    f = rng.uniform(180, 420) * (1 + 0.02 * slow(rng, duration, 1))
    return tone(f, duration, [0.5, 0.3, 0.5, 0.2, 0.3, 0.2]) * 0.5 + band(
        colour(rng, duration, 0.6), 200, 9000
    )


def drill(rng: Rng, duration: float) -> Array:
    """Make drill."""
    load = 1 + 0.2 * slow(rng, duration, 1.5)
    f = rng.uniform(90, 500) * load
    buzz = signal.sawtooth(2 * np.pi * np.cumsum(f) / RATE)
    return buzz + 0.5 * band(colour(rng, duration, 0.2), 1500, 12000) * (0.5 + np.abs(buzz))


def saw(rng: Rng, duration: float) -> Array:
    """Make saw."""
    t = seconds(duration)
    stroke = np.abs(np.sin(np.pi * rng.uniform(1.0, 2.5) * t)) ** rng.uniform(1, 3)
    rasp = 0.6 + 0.4 * signal.sawtooth(2 * np.pi * rng.uniform(60, 250) * t * (0.7 + 0.3 * stroke))
    return band(colour(rng, duration, 0.3), rng.uniform(500, 1500), 9000) * stroke * rasp


def pump(rng: Rng, duration: float) -> Array:
    """Make pump."""
    t = seconds(duration)
    stroke = np.maximum(0, np.sin(2 * np.pi * rng.uniform(0.8, 6) * t)) ** 2
    return engine(rng, duration) * 0.5 + band(colour(rng, duration, 1), 60, 4000) * stroke * 2


def train(rng: Rng, duration: float) -> Array:
    """Make train."""
    clack = thump(rng, 60, 1800, 0.05)
    period = rng.uniform(0.5, 1.2)
    times = [t + d for t in np.arange(0, duration, period) for d in (0, 0.13)]
    return pulses(duration, times, clack * 2) + band(colour(rng, duration, 1.6), 30, 3000)


def helicopter(rng: Rng, duration: float) -> Array:
    """Make helicopter."""
    t = seconds(duration)
    chop = np.maximum(0, np.sin(2 * np.pi * rng.uniform(9, 18) * t)) ** 3
    return band(colour(rng, duration, 1.5), 40, 2500) * (0.2 + chop) + 0.2 * tone(
        rng.uniform(200, 500), duration, [1, 0.5]
    )


def jet(rng: Rng, duration: float) -> Array:
    """Make jet."""
    t = seconds(duration)
    level = np.exp(-(((t - duration * rng.uniform(0.2, 0.8)) / rng.uniform(1.5, 5)) ** 2))
    whine = tone(rng.uniform(1500, 3500) * (1.05 - 0.1 * t / duration), duration, [0.2, 0.1])
    return (band(colour(rng, duration, 1.2), 40, 6000) + whine) * (0.15 + level)
