"""Trains the audio network on the ring of examples that `training.generate` keeps filling.

    python -m training.train --examples EXAMPLES --pool POOL --text text.pt --teacher ../shared/teacher
        --shared ../shared --out run.pt --minutes 30 [--start other.pt] [--leave-out]

Time-bounded: the rate follows a cosine over `--minutes`; the averaged weights are saved every minute.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.clips import ESC_LABELS, label_text
from training.fastconv import FastConv
from training.feed import EVIDENCE_POWER, PRIOR_POWER, Gossip, Ring, Validation, evidence, text_tables
from training.leftout import LEFT_OUT
from training.net import CausalConv, CompactNet, unit

VIEWS = [(0, 496, 20), (1, 240, 32), (2, 240, 32), (3, 96, 56)]
"""Ring view, frames used, batch size."""
VIEW_SHARES = [0.28, 0.26, 0.26, 0.20]
LABEL_WEIGHT = {
    "esc": 1.0,
    "effects": 0.35,
    "background": 0.35,
    "synth": 0.35,
    "package": 0.2,
    "music": 0.0,
    "speech": 0.0,
}


def with_norms(net: CompactNet) -> CompactNet:
    """Put batch normalisation behind every convolution, for training only."""
    for module in net.modules():
        if isinstance(module, CausalConv):
            conv = module.conv
            kind = FastConv if conv.kernel_size[0] == 1 and conv.in_channels >= 256 else nn.Conv2d
            module.conv = kind(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False
            )
            module.norm = nn.BatchNorm2d(conv.out_channels)
            nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu")
    return net


def augment(mel: Tensor, prob: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mix a third of the batch with a neighbour (noisy-or targets), shift the gain, mask bands and moments.

    Returns mels, targets and which rows are unmixed.
    """
    count = len(mel)
    clean = torch.from_numpy(rng.random(count) > 0.12)
    shift = torch.from_numpy(rng.uniform(-12, 6, (count, 1, 1)).astype(np.float32))
    both = 10 * torch.log10(10 ** (mel / 10) + 10 ** ((mel.roll(1, 0) + shift) / 10))
    mel = torch.where(clean[:, None, None], mel, both)
    prob = torch.where(
        clean[:, None], prob, 1 - (1 - prob) * (1 - prob.roll(1, 0) * torch.sigmoid((shift[:, 0] + 10) / 3))
    )
    mel = mel + torch.from_numpy(rng.uniform(-8, 8, (count, 1, 1)).astype(np.float32))
    frames = mel.shape[1]
    for i in np.flatnonzero(rng.random(count) < 0.3):
        width, at = int(rng.integers(2, 10)), int(rng.integers(0, 60))
        mel[i, :, at : at + width] = -70.0
        width, at = int(rng.integers(2, max(3, frames // 6))), int(rng.integers(0, frames))
        mel[i, at : at + width] = -70.0
    return mel.clamp(min=-100.0), prob, clean


def main() -> None:
    """Train until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=Path, nargs="+", required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument(
        "--esc-draw", type=float, default=1.0, help="how much oftener examples of ESC clips are drawn"
    )
    parser.add_argument("--label-weight", type=float, default=0.6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gossip", type=Path, help="folder shared with a second trainer")
    parser.add_argument("--rank", type=int, default=0, help="0, or 1 for the second trainer")
    parser.add_argument("--leave-out", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(2 + args.rank)
    rng = np.random.default_rng(2 + args.rank)
    with (args.teacher / "audioset_527.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    with (args.pool / "pool.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    class_t, _ = text_tables(args.text, names)
    captions = sorted({r["caption"] for r in rows} | {label_text(n) for n in ESC_LABELS})
    caption_t, caption_w = text_tables(args.text, captions)
    number = {c: i for i, c in enumerate(captions)}
    clip_caption = np.array([number[r["caption"]] for r in rows])
    clip_weight = np.array(
        [LABEL_WEIGHT[r["group"]] if r["caption"] else 0.0 for r in rows], dtype=np.float32
    )
    clip_is_esc = np.array([r["group"] == "esc" for r in rows])
    esc_captions = torch.tensor(
        [number[label_text(n)] for n in ESC_LABELS if not (args.leave_out and n in LEFT_OUT)]
    )
    draw = {"esc": args.esc_draw, "music": 0.4, "speech": 0.4}
    ring = Ring(args.examples, np.array([draw.get(r["group"], 1.0) for r in rows]))
    net = with_norms(CompactNet()).to(memory_format=torch.channels_last)
    extra = nn.ModuleDict({"feature": nn.Linear(net.config.hidden, 512)})
    scale = nn.Parameter(torch.tensor([2.3, 2.0, 2.3]))
    bias = nn.Parameter(torch.tensor(-6.0))
    nn.init.constant_(net.logits.bias, -5.0)
    if args.start:
        saved = torch.load(args.start)
        net.load_state_dict(saved["net"])
        extra.load_state_dict(saved["extra"])
        scale.data, bias.data, prior = saved["scale"], saved["bias"], saved["prior"]
    else:
        while sum(ring.sizes()) < 1500:
            time.sleep(2)
        filled = ring.sizes()[0]
        prior = torch.from_numpy(ring.parts[0][3][:filled, 0].astype(np.float32).mean(0)).clamp(min=1e-4)
    boost = (prior / prior.median()) ** -0.5
    boost = boost.clamp(0.3, 3.0)
    average = copy.deepcopy(net)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    average.eval()
    validation = Validation(args.shared, args.text, leave_out=args.leave_out)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1] + [scale, bias]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed + list(extra.parameters()), "weight_decay": 0.03},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=args.rate,
    )
    saves = 0
    gossip = Gossip(args.gossip, args.rank, net)
    began, step, seen, last_saved, losses = time.monotonic(), 0, 0, 0.0, []
    budget = args.minutes * 60

    def save() -> None:
        torch.save(
            {"net": average.state_dict(), "extra": extra.state_dict(), "scale": scale.data, "bias": bias.data,
             "prior": prior, "seen": seen, "minutes": (time.monotonic() - began) / 60},
            args.out.with_suffix(".part"),
        )  # fmt: skip
        args.out.with_suffix(".part").rename(args.out)

    while (elapsed := time.monotonic() - began) < budget:
        warm = min(1.0, (step + 1) / 150)
        for group in optimiser.param_groups:
            group["lr"] = args.rate * warm * (0.5 * (1 + np.cos(np.pi * elapsed / budget)) + 0.003)
        view, frames, count = VIEWS[int(rng.choice(4, p=VIEW_SHARES))]
        mel, prob, feature, info = ring.batch(rng, view, frames, count)
        mel, prob, clean = augment(mel, prob, rng)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            embedding, logits, hidden = net(mel)
            guess = extra["feature"](hidden)
        embedding, logits, guess = embedding.float(), logits.float(), guess.float()
        soft = (prob**0.7 * boost).clamp(max=1.0)
        tagging = functional.binary_cross_entropy_with_logits(logits, prob, reduction="none").sum(1).mean()
        matching = (
            functional.binary_cross_entropy_with_logits(
                embedding @ class_t.T * scale[0].exp() + bias, soft, reduction="none"
            )
            .sum(1)
            .mean()
        )
        mine = evidence(logits, prior)
        direction = (1 - (mine * unit(prob**EVIDENCE_POWER * prior**-PRIOR_POWER)).sum(1)).mean()
        imitation = ((1 - functional.cosine_similarity(guess, feature)) * clean).mean()
        loss = 0.25 * tagging + 0.12 * matching + 2.0 * direction + 1.0 * imitation
        first = info[:, 0]
        weight = torch.from_numpy(clip_weight[first] * (info[:, 2] > 300)) * clean
        if view == 3:
            weight = weight * 0.5
        labelled = torch.zeros(())
        for is_esc in (True, False):
            chosen = (weight > 0) & torch.from_numpy(clip_is_esc[first] == is_esc)
            if chosen.sum() < 2:
                continue
            truth = torch.from_numpy(clip_caption[first])[chosen]
            options = esc_captions if is_esc else truth.unique()
            target = (options[None, :] == truth[:, None]).float().argmax(1)
            for k, score in (
                (1, embedding[chosen] @ caption_t[options].T),
                (2, mine[chosen] @ caption_w[options].T),
            ):
                entropy = functional.cross_entropy(
                    score * scale[k].exp(), target, reduction="none", label_smoothing=0.05
                )
                labelled = labelled + (entropy * weight[chosen]).sum() / len(mel)
        loss = loss + args.label_weight * labelled
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        seen += len(mel)
        if step % 12 == 0:
            gossip()
        keep = min(0.998, (1 + step) / (20 + step))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                if a.dtype.is_floating_point:
                    a.lerp_(b, 1 - keep)
        losses.append([tagging.item(), matching.item(), direction.item(), imitation.item(), labelled.item()])
        if args.rank == 0 and (step == 20 or elapsed - last_saved > 60):
            last_saved, saves = elapsed, saves + 1
            save()
            text = validation(average, prior) if saves % 3 == 0 else ""
            mean = np.round(np.mean(losses, 0), 3).tolist()
            losses.clear()
            print(f"{elapsed:5.0f} s step {step} seen {seen} ring {ring.sizes()} {mean} {text}", flush=True)
    if args.rank:
        return
    save()
    print(json.dumps({"seen": seen, "minutes": args.minutes}), validation(average, prior), flush=True)


if __name__ == "__main__":
    main()
