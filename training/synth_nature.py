"""Procedural noises, water, fire, impacts and animals."""

from __future__ import annotations

import numpy as np
from scipy import signal

from training.synth_basics import (
    RATE,
    Array,
    Rng,
    band,
    both,
    colour,
    hum,
    pulses,
    ring,
    seconds,
    slow,
    thump,
    tone,
)


def hiss(rng: Rng, duration: float) -> Array:
    """Make hiss."""
    level = np.exp(-seconds(duration) / rng.uniform(0.5, 8))
    return band(colour(rng, duration, 0), rng.uniform(1500, 4000), 18000) * level


def rain(rng: Rng, duration: float) -> Array:
    """Make rain."""
    drops = np.zeros(int(duration * RATE))
    for _ in range(int(rng.uniform(30, 400) * duration)):
        drop = thump(rng, rng.uniform(1500, 5000), 14000, 0.003) * rng.exponential(0.6)
        start = int(rng.integers(0, len(drops) - len(drop)))
        drops[start : start + len(drop)] += drop
    return drops + rng.uniform(0.05, 0.5) * band(colour(rng, duration, 0.5), 400, 12000)


def wind(rng: Rng, duration: float) -> Array:
    """Make wind."""
    gust = np.exp(0.8 * slow(rng, duration, 0.8))
    whistle = band(colour(rng, duration, 0), rng.uniform(300, 500), rng.uniform(600, 900))
    return (band(colour(rng, duration, 2), 30, 1200) + rng.uniform(0, 0.6) * whistle) * gust


def waves(rng: Rng, duration: float) -> Array:
    """Make waves."""
    t = seconds(duration)
    swell = (0.5 + 0.5 * np.sin(2 * np.pi * t / rng.uniform(3.5, 8) + rng.uniform(0, 6))) ** 2 + 0.1
    return band(colour(rng, duration, 0.8), 100, 10000) * swell


def water(rng: Rng, duration: float) -> Array:
    """Make water."""
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
    """Make drip."""
    t = seconds(0.08)
    f = rng.uniform(700, 2200)
    plink = np.sin(2 * np.pi * f * t * (1 + 4 * t)) * np.exp(-t * 60)
    return pulses(duration, list(np.cumsum(rng.uniform(0.2, 1.5, 12))), plink)


def fire(rng: Rng, duration: float) -> Array:
    """Make fire."""
    out = 0.15 * band(colour(rng, duration, 1.5), 40, 1200) * (1 + 0.3 * slow(rng, duration, 4))
    for _ in range(int(rng.uniform(5, 60) * duration)):
        crack = thump(rng, rng.uniform(800, 4000), 15000, rng.uniform(0.0005, 0.006)) * rng.exponential(0.7)
        start = int(rng.integers(0, len(out) - len(crack)))
        out[start : start + len(crack)] += crack
    return out


def steps(rng: Rng, duration: float) -> Array:
    """Make steps."""
    period = rng.uniform(0.35, 0.75)
    times = np.arange(rng.uniform(0, 0.3), duration, period)
    step = thump(rng, 60, rng.uniform(400, 3000), rng.uniform(0.01, 0.05))
    return sum(pulses(duration, [t + 0.02 * rng.random()], step * rng.uniform(0.6, 1)) for t in times)


def knock(rng: Rng, duration: float) -> Array:
    """Make knock."""
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
    """Make click."""
    hit = thump(rng, rng.uniform(1000, 3000), 14000, rng.uniform(0.0008, 0.004))
    times = np.cumsum(rng.uniform(0.15, 1.2, 14))
    return pulses(duration, list(times), hit) + pulses(
        duration, list(times + rng.uniform(0.05, 0.12)), hit * 0.5
    )


def typing(rng: Rng, duration: float) -> Array:
    """Make typing."""
    out = np.zeros(int(duration * RATE))
    for at in np.cumsum(rng.gamma(2, rng.uniform(0.04, 0.12), 80)):
        hit = thump(rng, rng.uniform(500, 2500), 9000, rng.uniform(0.002, 0.008)) * rng.uniform(0.4, 1)
        out += pulses(duration, [at], hit)
    return out


def tick(rng: Rng, duration: float) -> Array:
    """Make tick."""
    hit = ring(rng, rng.uniform(1500, 4500), 4, rng.uniform(0.003, 0.012))
    period = rng.choice([0.2, 0.25, 0.5, 1.0])
    times = np.arange(0.05, duration, period)
    return pulses(duration, list(times[::2]), hit) + pulses(
        duration, list(times[1::2]), hit * rng.uniform(0.5, 1)
    )


def bell(rng: Rng, duration: float) -> Array:
    """Make bell."""
    hit = ring(rng, rng.uniform(150, 700), 9, rng.uniform(0.6, 1.5))
    return pulses(duration, list(np.arange(0.1, duration, rng.uniform(0.8, 3))), hit)


def glass(rng: Rng, duration: float) -> Array:
    """Make glass."""
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
    """Make metal."""
    hit = both(ring(rng, rng.uniform(250, 1800), 12, rng.uniform(0.08, 0.5)), thump(rng, 500, 12000, 0.01))
    return pulses(duration, sorted(rng.uniform(0, duration - 1, int(rng.integers(1, 6)))), hit)


def explosion(rng: Rng, duration: float) -> Array:
    """Make explosion."""
    t = seconds(duration - 1)
    boom = band(colour(rng, duration - 1, 2), 25, 900) * np.exp(-t / rng.uniform(0.3, 1.5))
    return pulses(duration, [rng.uniform(0, 1)], np.tanh(3 * boom))


def whistle(rng: Rng, duration: float) -> Array:
    """Make whistle."""
    f = rng.uniform(900, 2600) * (1 + 0.12 * slow(rng, duration, rng.uniform(1, 4)))
    return tone(f, duration, [1, 0.05]) * (slow(rng, duration, 3) > -0.6) + 0.05 * colour(rng, duration, 0.5)


def kettle(rng: Rng, duration: float) -> Array:
    """Make kettle."""
    rise = np.minimum(1, seconds(duration) / rng.uniform(1, 4))
    f = rng.uniform(2000, 3300) * (0.8 + 0.2 * rise)
    return tone(f, duration, [1, 0.3]) * rise + 0.4 * band(colour(rng, duration, 0), 2000, 14000)


def birdsong(rng: Rng, duration: float) -> Array:
    """Make birdsong."""
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
    """Make crickets."""
    t = seconds(duration)
    carrier = tone(rng.uniform(3500, 6500), duration)[: len(t)]
    chirp = (np.sin(2 * np.pi * rng.uniform(20, 40) * t) > 0) * (
        (t * rng.uniform(0.8, 3)) % 1 < rng.uniform(0.3, 0.8)
    )
    return carrier * signal.lfilter([0.01], [1, -0.99], chirp) + 0.02 * colour(rng, duration, 1)


def insect(rng: Rng, duration: float) -> Array:
    """Make insect."""
    f = rng.uniform(120, 600) * (1 + 0.08 * slow(rng, duration, 4))
    return tone(f, duration, [1, 0.8, 0.6, 0.5, 0.3, 0.2]) * np.exp(0.7 * slow(rng, duration, 1))


def room_tone(rng: Rng, duration: float) -> Array:
    """Make room tone."""
    return colour(rng, duration, rng.uniform(0.8, 2)) + rng.uniform(0, 0.5) * hum(rng, duration)


def static(rng: Rng, duration: float) -> Array:
    """Make static."""
    return band(colour(rng, duration, rng.uniform(0, 1)), rng.uniform(40, 800), rng.uniform(3000, 20000))
