"""Makes training examples without end, a batch at a time, on the device that trains.

The pool of `training.audio` lies in the device's memory. An example is 5 s of one clip, or two mixed, with
random speed, equaliser, room, noise, bandwidth and level: all of it in the frequency domain.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.leftout import names_left_out

RATE = 48000
SECONDS = 5
SIZE = SECONDS * RATE
NARROW_SIZE = SIZE * 2 // 3
"""The teacher hears 32 kHz."""
BLOCKS = 100
"""Of 50 ms, for levels."""
SHARES = {
    "esc": 0.30,
    "effects": 0.12,
    "package": 0.30,
    "background": 0.07,
    "music": 0.05,
    "speech": 0.06,
    "synth": 0.10,
}
BEHIND = {"background": 0.45, "music": 0.15, "speech": 0.15, "synth": 0.05, "package": 0.1, "esc": 0.1}
"""Groups of the second clip, as often as not; otherwise `SHARES`."""


@dataclass(frozen=True)
class Mixture:
    """A batch of examples."""

    wide: Tensor
    """(B, SIZE) samples at 48 kHz."""
    narrow: Tensor
    """(B, NARROW_SIZE), the same at 32 kHz."""
    clips: Tensor
    """(B, 2) rows of the pool; -1 where there is no second."""
    audible: Tensor
    """(B, 2, BLOCKS): where each clip sounds, and isn't drowned by the rest."""


class Pool:
    """The clips of `training.audio`, in the device's memory."""

    def __init__(self, folder: Path, device: torch.device, *, leave_out: bool) -> None:
        with (folder / "pool.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        samples = np.memmap(folder / "pool.i16", dtype=np.int16, mode="c")
        self.samples = torch.from_numpy(np.asarray(samples)).to(device)
        self.starts = np.array([int(row["offset"]) for row in self.rows])
        self.counts = np.array([int(row["samples"]) for row in self.rows])
        self.groups: dict[str, np.ndarray] = {}
        for group in SHARES:
            self.groups[group] = np.array(
                [
                    i
                    for i, row in enumerate(self.rows)
                    if row["group"] == group
                    and not (leave_out and names_left_out(row["caption"], row["file"], row["origin"]))
                ],
                dtype=np.int64,
            )

    def draw(self, rng: np.random.Generator, count: int, shares: dict[str, float]) -> np.ndarray:
        """Rows of `count` clips, groups by `shares`."""
        known = {name: share for name, share in shares.items() if len(self.groups[name])}
        weights = np.array(list(known.values()))
        chosen = rng.choice(len(known), count, p=weights / weights.sum())
        names = list(known)
        return np.array([rng.choice(self.groups[names[i]]) for i in chosen])


class Mixer:
    """Draws batches of mixtures from a pool."""

    def __init__(self, pool: Pool, device: torch.device, seed: int) -> None:
        self.pool = pool
        self.device = device
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator(device).manual_seed(seed)
        frequency = torch.fft.rfftfreq(SIZE, 1 / RATE, device=device)
        self.frequency = frequency
        self.octave = torch.log2(frequency.clamp(min=30.0))
        points = np.linspace(np.log2(30.0), np.log2(24000.0), 7)
        self.tilt = torch.tensor(points - points.mean(), dtype=torch.float32, device=device)
        spacing = points[1] - points[0]
        centres = torch.tensor(points, dtype=torch.float32, device=device)
        self.hats = (1 - (self.octave - centres[:, None]).abs() / spacing).clamp(min=0)
        self.time = torch.arange(SIZE, device=device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)[:, None]

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def sounds(self, rows: np.ndarray) -> Tensor:
        """5 s of each clip, (B, SIZE): cut, placed or repeated with a gap; half of them at another speed."""
        rng, count = self.rng, len(rows)
        speed = np.where(rng.random(count) < 0.5, np.exp(rng.normal(0, 0.16, count)), 1.0)
        length = self.pool.counts[rows] / speed
        is_long = length >= SIZE
        gap = rng.uniform(0, 1.0, count) * RATE
        again = rng.random(count) < 0.6
        period = np.where(is_long, length, np.where(again, length + gap, 1e9))
        begin = np.where(
            is_long,
            rng.random(count) * np.maximum(length - SIZE, 0),
            np.where(again, rng.random(count) * (length + gap), -rng.random(count) * (SIZE - length)),
        )
        # Positions to the sample need more than float32's 24 bits.
        at = self.time.double()[None] + torch.from_numpy(begin).to(self.device)[:, None]
        inside = at - torch.floor(at / self._double(period)) * self._double(period)
        inside = torch.where(at < 0, -1.0, inside)
        place = inside * self._double(speed)
        last = torch.from_numpy(self.pool.counts[rows] - 1).to(self.device)[:, None]
        valid = (place >= 0) & (place < last)
        whole = place.floor().long().clamp(min=0).minimum(last - 1).clamp(min=0)
        part = (place - whole).float()
        index = torch.from_numpy(self.pool.starts[rows]).to(self.device)[:, None] + whole
        one, two = self.pool.samples[index].float(), self.pool.samples[index + 1].float()
        return torch.where(valid, (one + (two - one) * part) / 32768.0, 0.0)

    def _double(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float64)).to(self.device)[:, None]

    def colour(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra, equalised and now and then put in a room, (B, F); and the power of each loud part, (B, 1).

        The loud part's power keeps short sounds from being mixed louder than long ones.
        """
        rng, count = self.rng, len(sound)
        spectrum = torch.fft.rfft(sound)
        before = _norm(spectrum)
        blocks = sound.square().view(count, BLOCKS, -1).mean(dim=2)
        power = blocks.sort(dim=1).values[:, -25:].mean(dim=1, keepdim=True) + 1e-12
        gains = self._normal(count, 7) * 2.5 + self._normal(count, 1) * 1.2 * self.tilt
        gains = gains * self._tensor(rng.random(count) < 0.7)
        spectrum = spectrum * torch.pow(10.0, (gains @ self.hats) / 20)
        rooms = np.flatnonzero(rng.random(count) < 0.2)
        if len(rooms):
            length = self._tensor(rng.uniform(0.1, 0.9, len(rooms)) * RATE)
            decay = torch.exp(-6.9 * self.time / length) * (self.time < length)
            response = self._normal(len(rooms), SIZE) * decay
            response *= self._tensor(rng.uniform(0.2, 1.2, len(rooms))) / response.norm(dim=1, keepdim=True)
            response[:, 0] += 1.0
            chosen = torch.from_numpy(rooms).to(self.device)
            spectrum[chosen] = spectrum[chosen] * torch.fft.rfft(response)
        return spectrum, power * (_norm(spectrum) / before).square()

    def batch(self, count: int) -> Mixture:
        """Draw `count` examples."""
        rng = self.rng
        first = self.pool.draw(rng, count, SHARES)
        second = np.where(
            rng.random(count) < 0.5, self.pool.draw(rng, count, BEHIND), self.pool.draw(rng, count, SHARES)
        )
        mixed = rng.random(count) < 0.55
        one, power = self.colour(self.sounds(first))
        two, other = self.colour(self.sounds(second))
        ratio_db = self._tensor(rng.uniform(-6, 20, count))
        gain = (power / other).sqrt() * 10 ** (-ratio_db / 20)
        two = two * gain.clamp(max=1e3) * self._tensor(mixed)
        noise = torch.view_as_complex(self._normal(count, len(self.frequency), 2))
        noise = noise * torch.pow(2.0, -self._tensor(rng.uniform(0, 1, count)) * (self.octave - 10))
        total = _norm(one + two)
        below = 10 ** (-self._tensor(rng.uniform(8, 45, count)) / 20)
        noise = noise * (total / _norm(noise) * below * self._tensor(rng.random(count) < 0.4))
        shape = self._bandwidth(count)
        level = _norm(one + two + noise) * np.sqrt(2.0) / SIZE  # Parseval: root mean square of the samples
        scale = shape * (10 ** (self._tensor(rng.uniform(-45, -12, count)) / 20) / level)
        parts = torch.stack([one, two, one + two + noise], dim=1) * scale[:, None]
        heard = torch.fft.irfft(parts, SIZE)
        wide = heard[:, 2].clamp(-1, 1)
        narrow = torch.fft.irfft(parts[:, 2, : NARROW_SIZE // 2 + 1], NARROW_SIZE) * (NARROW_SIZE / SIZE)
        return Mixture(
            wide,
            narrow.clamp(-1, 1),
            torch.from_numpy(np.stack([first, np.where(mixed, second, -1)], axis=1)).to(self.device),
            _audible(heard),
        )

    def _bandwidth(self, count: int) -> Tensor:
        """Low-pass a third, as telephones and cheap microphones do, and high-pass some: gains (B, F)."""
        rng = self.rng
        narrow = rng.random(count) < 0.4
        cut = np.where(narrow, 7800.0, np.exp(rng.uniform(np.log(2500), np.log(16000), count)))
        order = np.where(narrow, 40.0, rng.uniform(4, 30, count))
        cut = np.where(rng.random(count) < 0.35, cut, 1e9)
        nepers = torch.log(self.frequency.clamp(min=1.0) / self._tensor(cut)).clamp(max=2.0)
        low = 1 / (1 + torch.exp(self._tensor(order) * nepers))
        bass = np.where(rng.random(count) < 0.15, np.exp(rng.uniform(np.log(60), np.log(500), count)), 1e-3)
        high = 1 - 1 / (1 + (self.frequency / self._tensor(bass)).clamp(max=1e4) ** 4)
        return low * high


def _norm(spectrum: Tensor) -> Tensor:
    """Euclidean norm of each row, (B, 1)."""
    return torch.view_as_real(spectrum).square().sum(dim=(1, 2)).sqrt()[:, None] + 1e-9


def _audible(heard: Tensor) -> Tensor:
    """Of (B, 3, SIZE), both clips and their sum with the noise: blocks in which each clip matters."""
    power = heard.view(len(heard), 3, BLOCKS, -1).square().mean(dim=3)
    clips, total = power[:, :2], power[:, 2:]
    loudest = clips.amax(dim=2, keepdim=True)
    return (clips > 0.2 * total) & (clips > 1e-3 * loudest) & (clips > 1e-9)
