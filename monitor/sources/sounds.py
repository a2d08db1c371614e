"""Everyday sounds made of arithmetic, for the demo: mono at 48 kHz, peak 1.0, true to their kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RATE_HZ = 48_000

Signal = NDArray[np.float64]
Partial = tuple[float, float, float]
"""Frequency in Hz, amplitude, and seconds after which it has decayed to 1/e."""
Resonance = tuple[float, float, float]
"""Centre in Hz, bandwidth in Hz, gain."""


def room_tone(rng: Generator, seconds: float) -> Signal:
    """Return a quiet room's noise, RMS 1.0."""
    return _noise(rng, seconds, 60.0, 12_000.0, db_per_octave=-6.0)


def make(label: str, rng: Generator) -> Signal:
    """Return one of SOUNDS as it would be heard in a room, peak 1.0."""
    heard = _in_room(rng, SOUNDS[label](rng))
    heard /= np.abs(heard).max()
    return heard


def _time(seconds: float) -> Signal:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def _faded(signal: Signal, seconds: float) -> Signal:
    count = min(len(signal) // 2, round(seconds * RATE_HZ))
    ramp = np.linspace(0.0, 1.0, count)
    faded = signal.copy()
    faded[:count] *= ramp
    faded[len(faded) - count :] *= ramp[::-1]
    return faded


def _glide(frequency_hz: Signal, harmonics: Iterable[float]) -> Signal:
    """Return a tone whose pitch follows frequency_hz, its harmonics' amplitudes given from the first."""
    phase = 2.0 * np.pi * np.cumsum(frequency_hz) / RATE_HZ
    signal = np.zeros(len(phase))
    for number, amplitude in enumerate(harmonics, start=1):
        signal += amplitude * np.sin(number * phase) * (number * frequency_hz < 0.45 * RATE_HZ)
    return signal


def _tone(frequency_hz: float, seconds: float, harmonics: Iterable[float]) -> Signal:
    return _faded(_glide(np.full(round(seconds * RATE_HZ), frequency_hz), harmonics), 0.005)


def _struck(partials: Sequence[Partial], seconds: float) -> Signal:
    """Return what rings after a blow."""
    time = _time(seconds)
    ringing = [amp * np.exp(-time / decay) * np.sin(2.0 * np.pi * hz * time) for hz, amp, decay in partials]
    return _faded(np.sum(ringing, axis=0), 0.002)


def _noise(rng: Generator, seconds: float, low_hz: float, high_hz: float, *, db_per_octave: float) -> Signal:
    """Return noise within a band, RMS 1.0."""
    count = round(seconds * RATE_HZ)
    hz = np.fft.rfftfreq(count, 1.0 / RATE_HZ)
    gain = ((hz >= low_hz) & (hz <= high_hz)) * (np.maximum(hz, 1.0) / 1000.0) ** (db_per_octave / 6.02)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * gain, count)
    noise /= np.sqrt(np.mean(np.square(noise)))
    return noise


def _resonate(signal: Signal, resonances: Iterable[Resonance]) -> Signal:
    hz = np.fft.rfftfreq(len(signal), 1.0 / RATE_HZ)
    gain = np.sum(
        [g / (1.0 + ((hz - centre) / (width / 2.0)) ** 2) for centre, width, g in resonances], axis=0
    )
    return np.fft.irfft(np.fft.rfft(signal) * gain, len(signal))


def _placed(seconds: float, sounds: Iterable[tuple[float, Signal]]) -> Signal:
    """Return sounds at their times in seconds, cut at the end."""
    scene = np.zeros(round(seconds * RATE_HZ))
    for at_seconds, sound in sounds:
        start = round(at_seconds * RATE_HZ)
        part = sound[: max(0, len(scene) - start)]
        scene[start : start + len(part)] += part
    return scene


def _in_room(rng: Generator, signal: Signal) -> Signal:
    """Add the reverberation of a furnished room, 0.35 s."""
    count = round(0.35 * RATE_HZ)
    response = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
    response *= 0.2 / np.sqrt(np.sum(np.square(response)))
    response[0] += 1.0
    size = len(signal) + count
    fast = 1 << (size - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(signal, fast) * np.fft.rfft(response, fast), fast)[:size]


def _smoke_alarm(_rng: Generator) -> Signal:
    """Three beeps and a pause, as ISO 8201 has it, from a piezo disc."""
    beep = _tone(3100.0, 0.5, (1.0, 0.05, 0.3, 0.0, 0.1))
    return _placed(7.0, [(4.0 * group + beat, beep) for group in range(2) for beat in range(3)])


def _siren(_rng: Generator) -> Signal:
    time = _time(8.0)
    pitch = 900.0 - 450.0 * np.cos(2.0 * np.pi * time / 4.0)
    return _faded(_glide(pitch, (1.0, 0.6, 0.45, 0.3, 0.2, 0.12, 0.08)), 0.2)


def _doorbell(_rng: Generator) -> Signal:
    def chime(hz: float) -> Signal:
        partials = ((hz, 1.0, 0.85), (1.5 * hz, 0.66, 0.51), (5.4 * hz, 0.32, 0.3), (8.6 * hz, 0.05, 0.1))
        return _struck(partials, 2.8)

    ding, dong = chime(729.0), chime(613.0)
    return _placed(6.5, [(0.0, ding), (0.44, dong), (3.8, ding), (4.24, dong)])


def _telephone(rng: Generator) -> Signal:
    """Return two rings of a clapper between two bells."""

    def bell(hz: float) -> Signal:
        partials = (
            (hz, 0.77, 0.28),
            (2.71 * hz, 0.92, 0.22),
            (5.15 * hz, 0.51, 0.14),
            (8.4 * hz, 0.08, 0.02),
        )
        return _struck(partials, 0.8)

    bells = (bell(1405.0), bell(1155.0))

    def ring() -> Signal:
        blows = [(blow / 27.7, rng.uniform(0.85, 1.0) * bells[blow % 2]) for blow in range(55)]
        return _placed(2.8, blows)

    return _placed(6.8, [(0.0, ring()), (4.0, ring())])


def _knocking(rng: Generator) -> Signal:
    """Return two times five knocks on a wooden door."""

    def knock() -> Signal:
        thud = _noise(rng, 0.25, 48.0, 5300.0, db_per_octave=-6.1) * np.exp(-_time(0.25) / 0.021)
        door = [(162.0, 0.29, 0.037), (294.0, 0.88, 0.018)]
        wood = _struck([(hz * rng.uniform(0.98, 1.02), amp, decay) for hz, amp, decay in door], 0.25)
        return rng.uniform(0.75, 1.0) * (0.6 * _faded(thud / np.abs(thud).max(), 0.0005) + 0.4 * wood)

    times = 0.35 * np.arange(5) + rng.uniform(-0.02, 0.02, 5).clip(0.0)
    return _placed(4.2, [(at, knock()) for at in (*times, *(times + 2.1))])


def _dog_bark(rng: Generator) -> Signal:
    """Return barks: a rough voice that rises and falls, through a dog's throat and mouth."""
    harmonics = np.arange(1.0, 31.0) ** -0.75
    throat = ((965.0, 250.0, 1.0), (1297.0, 350.0, 0.54), (2509.0, 500.0, 0.35), (3830.0, 900.0, 0.2))

    def bark() -> Signal:
        seconds = 0.211 * rng.uniform(0.9, 1.1)
        along = _time(seconds) / seconds
        pitch = 561.0 * rng.uniform(0.95, 1.05) * (0.756 + 0.975 * np.sin(np.pi * along**0.85) - 0.31 * along)
        knots = np.arange(0, len(along) + 200, 200)
        pitch *= 1.0 + 0.029 * np.interp(np.arange(len(along)), knots, rng.standard_normal(len(knots)))
        voice = _glide(pitch, harmonics) + 0.28 * _glide(pitch / 2.0, harmonics)
        breath = 0.51 * _noise(rng, seconds, 300.0, 9000.0, db_per_octave=-2.0)
        spoken = _resonate(voice + breath, throat)
        envelope = np.minimum(along / 0.236, 1.0) * np.exp(-4.9 * np.maximum(along - 0.25, 0.0))
        return _faded(np.tanh(0.93 * spoken / np.abs(spoken).max()) * envelope, 0.01)

    times = np.cumsum([0.0, 0.5, 0.85, 0.5, 0.55, 0.5]) + rng.uniform(0.0, 0.06, 6)
    return _placed(3.4, [(at, bark()) for at in times])


def _alarm_clock(_rng: Generator) -> Signal:
    beep = _tone(2048.0, 0.07, (1.0, 0.1, 0.5, 0.0, 0.3, 0.0, 0.2))
    return _placed(6.5, [(second + 0.125 * beat, beep) for second in range(7) for beat in range(4)])


def _car_horn(rng: Generator) -> Signal:
    """Return honks of two plates a minor third apart, before their trumpet."""
    harmonics = np.arange(1.0, 25.0) ** -1.145

    def plate(hz: float, time: Signal) -> Signal:
        knots = np.arange(0, len(time) + 2400, 2400)
        wobble = np.interp(np.arange(len(time)), knots, rng.standard_normal(len(knots)))
        return _glide(hz * (1.0 - 0.04 * np.exp(-time / 0.03)) * (1.0 + 0.003 * wobble), harmonics)

    def honk(seconds: float) -> Signal:
        time = _time(seconds)
        plates = plate(438.0, time) + plate(526.0, time)
        trumpet = _resonate(plates, ((1758.0, 1319.0, 1.0), (3023.0, 1200.0, 0.48))) + 0.36 * plates
        trumpet /= np.abs(trumpet).max()
        trumpet += 0.062 * _noise(rng, seconds, 300.0, 6000.0, db_per_octave=-4.0)
        return _faded(np.tanh(1.69 * trumpet), 0.025)

    return _placed(3.1, [(0.0, honk(0.5)), (0.8, honk(0.4)), (1.6, honk(1.5))])


def _bicycle_bell(rng: Generator) -> Signal:
    bell = _struck(
        ((2152.0, 0.71, 0.6), (4393.0, 0.44, 0.42), (5913.0, 0.42, 0.24), (8374.0, 0.28, 0.12)), 1.2
    )
    blows = [
        (1.4 * pull + 0.077 * blow, rng.uniform(0.6, 1.0) * bell) for pull in range(3) for blow in range(3)
    ]
    return _placed(4.2, blows)


def _crickets(_rng: Generator) -> Signal:
    count = round(0.014 * RATE_HZ)
    stroke = np.sin(2.0 * np.pi * 4500.0 * np.arange(count) / RATE_HZ) * np.hanning(count)
    return _placed(6.0, [(0.42 * chirp + 0.022 * beat, stroke) for chirp in range(14) for beat in range(7)])


SOUNDS: dict[str, Callable[[Generator], Signal]] = {
    "smoke_alarm": _smoke_alarm,
    "siren": _siren,
    "doorbell": _doorbell,
    "telephone": _telephone,
    "knocking": _knocking,
    "dog_bark": _dog_bark,
    "alarm_clock": _alarm_clock,
    "car_horn": _car_horn,
    "bicycle_bell": _bicycle_bell,
    "crickets": _crickets,
}
"""By name; an audio tagger trained on AudioSet has the right class among its three best for each."""
