"""Makes training examples without end: augmented mixtures of the pool and the teacher's answers to them.

    python -m training.generate --pool POOL --teacher ../shared/teacher --out EXAMPLES [--leave-out]

Writes a ring of slots that `training.train` reads while it is being written: `mel.f16` (slots, 500, 64) in
dB, `prob.f16` (slots, 4, 527), `feature.f16` (slots, 4, 512), `meta.i32` (slots, 8) and `count` (filled).
The four views of a slot are its whole 5 s, two crops of 2.5 s and one of 1 s.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from monitor.encoders.clap_logmel import LogMel
from training.leftout import names_left_out
from training.teacher import Teacher

RATE = 48000
SIZE = 5 * RATE
FRAMES = 500
VIEWS = 4
BATCH = 8
SHARES = {
    "esc": 0.27,
    "effects": 0.12,
    "package": 0.34,
    "background": 0.06,
    "music": 0.05,
    "speech": 0.06,
    "synth": 0.10,
}
FREQUENCY = np.fft.rfftfreq(SIZE, 1 / RATE).astype(np.float32)
OCTAVE = np.log2(np.maximum(FREQUENCY, 30.0)).astype(np.float32)


class Pool:
    """Random access to the clips of `training.audio`."""

    def __init__(self, folder: Path, *, leave_out: bool) -> None:
        with (folder / "pool.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.samples = np.memmap(folder / "pool.i16", dtype=np.int16, mode="r")
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            if not (leave_out and names_left_out(row["caption"], row["file"], row["origin"])):
                groups.setdefault(row["group"], []).append(i)
        self.groups = {name: np.array(members) for name, members in groups.items()}
        shares = np.array([SHARES[name] for name in self.groups])
        self.shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """Pick a clip, change its speed now and then, cut or place it in 5 s."""
        group = list(self.groups)[rng.choice(len(self.shares), p=self.shares)]
        index = int(rng.choice(self.groups[group]))
        row = self.rows[index]
        start, count = int(row["offset"]), int(row["samples"])
        speed = float(np.exp(rng.normal(0, 0.16))) if rng.random() < 0.5 else 1.0
        wanted = int(SIZE * speed)
        if count > wanted:
            start += int(rng.integers(0, count - wanted + 1))
            count = wanted
        clip = self.samples[start : start + count].astype(np.float32) / 32768.0
        if speed != 1.0:
            clip = np.interp(np.arange(0, count - 1, speed, dtype=np.float32), np.arange(count), clip).astype(
                np.float32
            )
        out = np.zeros(SIZE, dtype=np.float32)
        if len(clip) >= SIZE:
            out[:] = clip[:SIZE]
        elif rng.random() < 0.6:
            gap = int(rng.uniform(0, 1.0) * RATE)
            period = len(clip) + gap
            tiled = np.tile(np.concatenate([clip, np.zeros(gap, dtype=np.float32)]), SIZE // period + 2)
            shift = int(rng.integers(0, period))
            out[:] = tiled[shift : shift + SIZE]
        else:
            at = int(rng.integers(0, SIZE - len(clip) + 1))
            out[at : at + len(clip)] = clip
        return index, out


def norm(spectrum: torch.Tensor) -> float:
    """Euclidean norm; BLAS on the real view is ten times faster than torch's norm of complex numbers."""
    flat = torch.view_as_real(spectrum).numpy().ravel()
    return float(np.sqrt(np.dot(flat, flat)))


def curve(rng: np.random.Generator, deviation_db: float) -> np.ndarray:
    """Draw a smooth random equaliser."""
    points = np.linspace(np.log2(30.0), np.log2(24000.0), 7)
    tilt = rng.normal(0, 1.2) * (points - points.mean())
    return 10 ** (np.interp(OCTAVE, points, rng.normal(0, deviation_db, 7) + tilt) / 20).astype(np.float32)


def colour(rng: np.random.Generator, sound: np.ndarray) -> tuple[torch.Tensor, float]:
    """Spectrum, equalised and now and then put in a room, and the power of its loud part.

    The loud part's power keeps short sounds from being mixed louder than long ones.
    """
    spectrum = torch.fft.rfft(torch.from_numpy(sound))
    before = norm(spectrum) + 1e-9
    blocks = np.square(sound).reshape(100, -1).mean(axis=1)
    power = float(np.mean(np.sort(blocks)[-25:])) + 1e-12
    if rng.random() < 0.7:
        spectrum *= torch.from_numpy(curve(rng, 2.5))
    if rng.random() < 0.2:
        length = int(rng.uniform(0.1, 0.9) * RATE)
        decay = np.exp(-6.9 * np.arange(length, dtype=np.float32) / length)
        response = np.zeros(SIZE, dtype=np.float32)
        response[:length] = rng.standard_normal(length, dtype=np.float32) * decay
        response *= rng.uniform(0.2, 1.2) / np.sqrt(np.sum(response**2))
        response[0] += 1.0
        spectrum *= torch.fft.rfft(torch.from_numpy(response))
    return spectrum, power * (norm(spectrum) / before) ** 2


def mixture(rng: np.random.Generator, pool: Pool) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """One example: samples at 48 kHz, the same at 32 kHz, and (first clip, second clip, ratio in 0.01 dB)."""
    first, sound = pool.draw(rng)
    spectrum, power = colour(rng, sound)
    second, ratio_db = -1, 99.0
    if rng.random() < 0.45:
        second, sound = pool.draw(rng)
        ratio_db = float(rng.uniform(-8, 16))
        other, other_power = colour(rng, sound)
        gain = float(np.sqrt(power / (other_power + 1e-12) / 10 ** (ratio_db / 10)))
        spectrum += other * min(gain, 1e3)
    total = norm(spectrum) + 1e-9
    if rng.random() < 0.4:
        noise = torch.view_as_complex(
            torch.from_numpy(rng.standard_normal((len(FREQUENCY), 2), dtype=np.float32))
        )
        noise *= torch.from_numpy(2.0 ** (-rng.uniform(0, 1.0) * (OCTAVE - 10)).astype(np.float32))
        spectrum += noise * (total / norm(noise) * 10 ** (-rng.uniform(8, 45) / 20))
    if rng.random() < 0.35:
        cut = 7800.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(np.log(2500), np.log(16000))))
        order = 40 if cut == 7800.0 else rng.uniform(4, 30)
        spectrum *= torch.from_numpy((1 / (1 + (FREQUENCY / cut) ** order)).astype(np.float32))
    if rng.random() < 0.15:
        cut = float(np.exp(rng.uniform(np.log(60), np.log(500))))
        spectrum *= torch.from_numpy((1 - 1 / (1 + (FREQUENCY / cut) ** 4)).astype(np.float32))
    # Parseval: twice the one-sided spectrum's energy is size squared times the mean square.
    level = norm(spectrum) * np.sqrt(2.0) / SIZE + 1e-9
    spectrum *= float(10 ** (rng.uniform(-45, -12) / 20) / level)
    wide = torch.fft.irfft(spectrum, SIZE).clamp(-1, 1).numpy()
    narrow_size = SIZE * 2 // 3
    narrow = torch.fft.irfft(spectrum[: narrow_size // 2 + 1], narrow_size).numpy() * (narrow_size / SIZE)
    return wide, narrow.clip(-1, 1), [first, second, int(ratio_db * 100)]


def main() -> None:
    """Fill the ring until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slots", type=int, default=40000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leave-out", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    pool, teacher, logmel = Pool(args.pool, leave_out=args.leave_out), Teacher(args.teacher), LogMel()
    print({name: len(members) for name, members in pool.groups.items()}, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    mel = np.memmap(args.out / "mel.f16", np.float16, "w+", shape=(args.slots, FRAMES, 64))
    prob = np.memmap(args.out / "prob.f16", np.float16, "w+", shape=(args.slots, VIEWS, 527))
    feature = np.memmap(args.out / "feature.f16", np.float16, "w+", shape=(args.slots, VIEWS, 512))
    meta = np.memmap(args.out / "meta.i32", np.int32, "w+", shape=(args.slots, 8))
    began, filled = time.monotonic(), 0
    while time.monotonic() - began < args.minutes * 60:
        examples = [mixture(rng, pool) for _ in range(BATCH)]
        wide = torch.from_numpy(np.stack([e[0] for e in examples]))
        narrow = torch.from_numpy(np.stack([e[1] for e in examples]))
        decibels, spec = logmel(wide)[:, :FRAMES], teacher.spectrogram(narrow)
        starts = np.zeros((BATCH, VIEWS), dtype=np.int32)
        starts[:, 1:3] = rng.integers(0, FRAMES - 250, (BATCH, 2))
        starts[:, 3] = rng.integers(0, FRAMES - 100, BATCH)
        slots = (filled + np.arange(BATCH)) % args.slots
        mel[slots] = decibels.numpy().astype(np.float16)
        for view, length in enumerate((FRAMES, 250, 250, 100)):
            piece = torch.stack([spec[i, s : s + length] for i, s in enumerate(starts[:, view])])
            logits, features = teacher(piece)
            prob[slots, view] = (1 / (1 + np.exp(-logits))).astype(np.float16)
            feature[slots, view] = features.astype(np.float16)
        meta[slots, :3] = [e[2] for e in examples]
        meta[slots, 3:7] = starts
        filled += BATCH
        (args.out / "count").write_text(str(filled))
        if filled % 1600 == 0:
            print(f"{filled} examples, {filled / (time.monotonic() - began):.1f} a second", flush=True)


if __name__ == "__main__":
    main()
