"""What surrounds the training loop: text tables, the ring of examples, weight averaging, validation."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.encoders.compact_text import tokenizer_from
from training.clips import ESC_LABELS, esc_clips, label_text, mels_of
from training.leftout import LEFT_OUT
from training.net import CompactNet, unit
from training.text import bags
from training.textnet import TextNet

FRAMES = 500
EVIDENCE_POWER = 0.75
PRIOR_POWER = 0.5


def text_tables(path: Path, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Directions (N, 256) and unit class evidence (N, 527) of prompts."""
    saved = torch.load(path)
    tokenizer = tokenizer_from(saved["tokenizer"])
    net = TextNet(saved["state"]["tokens.weight"].shape[0])
    net.load_state_dict(saved["state"])
    with torch.no_grad():
        direction, logits = net(
            *bags([e.ids for e in tokenizer.encode_batch(prompts, add_special_tokens=False)])
        )
    return direction, unit(torch.softmax(logits, 1))


def evidence(logits: Tensor, prior: Tensor) -> Tensor:
    """Debiased class probabilities as a direction: (sigmoid(logits) / prior^(2/3))^0.75, unit length."""
    return unit(torch.exp(EVIDENCE_POWER * functional.logsigmoid(logits.float())) * prior**-PRIOR_POWER)


class Ring:
    """Reads what the generators have written so far; several rings count as one."""

    def __init__(self, folders: list[Path], clip_draw: np.ndarray) -> None:
        self.clip_draw = clip_draw
        self.parts = []
        for folder in folders:
            slots = (folder / "meta.i32").stat().st_size // 32
            self.parts.append(
                (
                    folder,
                    slots,
                    np.memmap(folder / "mel.f16", np.float16, "r", shape=(slots, FRAMES, 64)),
                    np.memmap(folder / "prob.f16", np.float16, "r", shape=(slots, 4, 527)),
                    np.memmap(folder / "feature.f16", np.float16, "r", shape=(slots, 4, 512)),
                    np.memmap(folder / "meta.i32", np.int32, "r", shape=(slots, 8)),
                )
            )

    def sizes(self) -> list[int]:
        return [min(part[1], int((part[0] / "count").read_text() or 0)) for part in self.parts]

    def batch(
        self, rng: np.random.Generator, view: int, frames: int, count: int
    ) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        sizes = np.array(self.sizes(), dtype=np.float64)
        _, _, mel, prob, feature, meta = self.parts[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        size = int(sizes[[p[2] is mel for p in self.parts].index(True)])
        draw = self.clip_draw[meta[:size, 0]]
        rows = np.sort(rng.choice(size, min(count, size), replace=False, p=draw / draw.sum()))
        info = meta[rows]
        starts = info[:, 3 + view]
        slack = {0: 4, 1: 10, 2: 10, 3: 4}[view]
        starts = starts + rng.integers(0, slack + 1, len(rows))
        pieces = np.stack([mel[r, s : s + frames] for r, s in zip(rows, starts, strict=True)])
        return (
            torch.from_numpy(pieces.astype(np.float32)),
            torch.from_numpy(prob[rows, view].astype(np.float32)),
            torch.from_numpy(feature[rows, view].astype(np.float32)),
            info,
        )


class Gossip:
    """Two trainers side by side average their weights every few steps, through files; neither waits."""

    def __init__(self, folder: Path | None, rank: int, net: nn.Module) -> None:
        self.folder, self.rank, self.net = folder, rank, net
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def __call__(self) -> None:
        if not self.folder:
            return
        values = [v for v in self.net.state_dict().values() if v.dtype.is_floating_point]
        flat = torch.cat([v.reshape(-1) for v in values]).numpy()
        part = self.folder / f"{self.rank}.part"
        flat.tofile(part)
        part.rename(self.folder / f"{self.rank}.f32")
        other = self.folder / f"{1 - self.rank}.f32"
        if not other.exists() or time.time() - other.stat().st_mtime > 60:
            return
        mean = torch.from_numpy((np.fromfile(other, np.float32) + flat) / 2)
        for value, piece in zip(values, mean.split([v.numel() for v in values]), strict=True):
            value.copy_(piece.view_as(value))


class Validation:
    """Clips of folds 1-3 that nothing trains on: non-commercial ones; for `leftout` its ten classes too."""

    def __init__(self, shared: Path, text: Path, *, leave_out: bool) -> None:
        clips = [c for c in esc_clips(shared) if c.fold != 4 and not c.permissive]
        self.labels = [label_text(name) for name in ESC_LABELS]
        self.sets = {"folds 1-3 NC, 50-way": (clips, list(range(50)))}
        if leave_out:
            out = [c for c in esc_clips(shared) if c.fold != 4 and c.label in LEFT_OUT]
            self.sets["left out, 10-way"] = (out, [ESC_LABELS.index(name) for name in LEFT_OUT])
        self.mels = {name: mels_of([c.path for c in clips]) for name, (clips, _) in self.sets.items()}
        plain = text_tables(text, self.labels)
        phrased = text_tables(text, [f"the sound of {label}" for label in self.labels])
        self.texts = [plain, phrased]

    @torch.no_grad()
    def __call__(self, net: CompactNet, prior: Tensor) -> str:
        report = []
        for name, (clips, classes) in self.sets.items():
            truth = torch.tensor([classes.index(ESC_LABELS.index(c.label)) for c in clips])
            outputs = [net(batch) for batch in self.mels[name].split(32)]
            direction = torch.cat([o[0].float() for o in outputs])
            proof = evidence(torch.cat([o[1].float() for o in outputs]), prior)
            row = []
            for t, w in self.texts:
                first, second = direction @ t[classes].T, proof @ w[classes].T
                scores = (first, second, first + second)
                row.extend(f"{100 * (score.argmax(1) == truth).float().mean():.1f}" for score in scores)
            report.append(f"{name}: " + "/".join(row))
        return "  ".join(report)
