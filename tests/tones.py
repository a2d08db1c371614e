"""An encoder that really hears, but only pure tones: for tests of everything around the model."""

import re

import numpy as np
import soundfile

TONES_HZ = (500, 1000, 2000, 4000)
RATE_HZ = 16_000


class ToneEncoder:
    """Embeds audio as its share of energy near each tone; a text as the tone it names, else as 'other'."""

    identity = "tones-1"
    rate_hz = RATE_HZ
    max_window_seconds = 10.0
    logit_scale = 20.0
    device = "cpu"

    def embed_audio(self, windows):
        rows = []
        for window in windows:
            samples = window.samples * np.hanning(len(window.samples))
            power = np.abs(np.fft.rfft(samples)) ** 2
            frequencies = np.fft.rfftfreq(len(samples), 1 / window.rate_hz)
            bands = [power[abs(frequencies - tone) < 50].sum() for tone in TONES_HZ]
            rows.append([*bands, max(power.sum() - sum(bands), 0.0)])
        embeddings = np.array(rows, np.float32)
        return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)

    def embed_text(self, prompts):
        rows = np.zeros((len(prompts), len(TONES_HZ) + 1), np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            named = re.search(r"(\d+) Hz", prompt)
            row[TONES_HZ.index(int(named[1])) if named else -1] = 1.0
        return rows


def scene(*parts, rate_hz=RATE_HZ, seed=0):
    """Join (tone in Hz or None for room noise, seconds) into samples."""
    rng = np.random.default_rng(seed)
    pieces = []
    for tone_hz, seconds in parts:
        times = np.arange(round(seconds * rate_hz)) / rate_hz
        noise = 0.003 * rng.standard_normal(len(times))
        pieces.append(noise if tone_hz is None else noise + 0.3 * np.sin(2 * np.pi * tone_hz * times))
    return np.concatenate(pieces).astype(np.float32)


def write_scene(path, *parts, rate_hz=RATE_HZ):
    soundfile.write(path, scene(*parts, rate_hz=rate_hz), rate_hz)
    return path
