"""Trains the audio network on fresh mixtures, made and answered by the teacher on the same device.

    python -m training.train --pool POOL --tables tables.pt --teacher ../shared/teacher --out run.pt
        --minutes 4 [--leave-out] [--batch 128] [--device cuda]

Time-bounded: the rate follows a cosine over `--minutes`; what is saved is the average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from monitor.encoders.clap_logmel import LogMel
from training.leftout import LEFT_OUT
from training.mixing import BLOCKS, SECONDS, SIZE, Mixer, Mixture, Pool
from training.net import CausalConv, CompactNet
from training.objectives import Objectives, View, evidence, joined
from training.teacher import Teacher

FRAMES = 100 * SECONDS
VIEWS = (496, 240, 192, 96)
"""Frames of 10 ms, multiples of the network's step."""
VIEW_WEIGHTS = (1.0, 0.8, 1.0, 0.6)
PRIOR_BATCHES = 12
AVERAGE = 0.999


def with_norms(net: CompactNet) -> CompactNet:
    """Put batch normalisation behind every convolution, for training only."""
    for module in net.modules():
        if isinstance(module, CausalConv):
            conv = module.conv
            module.conv = nn.Conv2d(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False
            )
            module.norm = nn.BatchNorm2d(conv.out_channels)
            nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu")
    return net


@torch.no_grad()
def started(weights: Path, mel: Tensor) -> CompactNet:
    """Build a network to train on from shipped weights, whose batch normalisations are folded away.

    Each convolution gets one back that changes nothing: mean and variance are those of (B, T, mels) `mel`.
    """
    shipped = {k.removeprefix("audio."): v.float() for k, v in load_file(weights).items() if "audio." in k}
    plain = CompactNet().eval()
    plain.load_state_dict(shipped)
    outputs: dict[str, Tensor] = {}
    for name, module in plain.named_modules():
        if isinstance(module, CausalConv):
            module.conv.register_forward_hook(lambda *call, name=name: outputs.update({name: call[2]}))
    plain(mel.cpu())
    net = with_norms(CompactNet())
    convolutions = {n: m for n, m in net.named_modules() if isinstance(m, CausalConv)}
    for name, module in convolutions.items():
        bias = shipped.pop(f"{name}.conv.bias")
        output = outputs[name] - bias[:, None, None]
        mean, variance = output.mean((0, 2, 3)), output.var((0, 2, 3))
        norm = module.norm
        shipped |= {
            f"{name}.norm.weight": (variance + norm.eps).sqrt(),
            f"{name}.norm.bias": bias + mean,
            f"{name}.norm.running_mean": mean,
            f"{name}.norm.running_var": variance,
            f"{name}.norm.num_batches_tracked": torch.tensor(0),
        }
    net.load_state_dict(shipped)
    return net


class Examples:
    """Mixtures with the teacher's answers, as views."""

    def __init__(self, mixer: Mixer, teacher: Teacher, device: torch.device) -> None:
        self.mixer, self.teacher = mixer, teacher
        self.logmel = LogMel().to(device)
        self.half = device.type == "cuda"

    @torch.no_grad()
    def views(self, count: int) -> list[View]:
        """One view of each length of `count` mixtures."""
        mixture: Mixture = self.mixer.batch(count)
        mel = self.logmel(mixture.wide)[:, :FRAMES]
        spectrogram = self.teacher.spectrogram(mixture.narrow)
        views = []
        for frames in VIEWS:
            heard_frames = min(frames + 8, FRAMES)
            start = int(self.mixer.rng.integers(0, FRAMES - frames + 1))
            with torch.autocast(mel.device.type, torch.float16, enabled=self.half):
                logits, feature = self.teacher(spectrogram[:, start : start + heard_frames])
            first, last = start * BLOCKS // FRAMES, -(-(start + frames) * BLOCKS // FRAMES)
            heard = mixture.audible[:, :, first:last].float()
            # A short sound is heard as well as a long one: 0.3 s count as the whole.
            share = (heard.sum(2) / min(6, last - first)).clamp(max=1.0)
            views.append(
                View(mel[:, start : start + frames], torch.sigmoid(logits), feature, mixture.clips, share)
            )
        return views


def augmented(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift the gain of each row; mask a band and a moment of some."""
    count, frames, mels = mel.shape

    def random(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, 1, 1)).astype(np.float32)).to(mel.device)

    mel = mel + random(-8, 8)
    masked = random(0, 1) < 0.3
    band = torch.arange(mels, device=mel.device)[None, None, :] - random(0, mels)
    moment = torch.arange(frames, device=mel.device)[None, :, None] - random(0, frames)
    hidden = ((band >= 0) & (band < random(2, 10))) | ((moment >= 0) & (moment < random(2, frames / 6)))
    return mel.masked_fill(hidden & masked, -70.0).clamp(min=-100.0)


class Validation:
    """Clips that nothing trains on (group `validation` of the pool): how many get their label."""

    def __init__(self, pool: Pool, logmel: LogMel, tables: dict) -> None:
        rows = [(i, row) for i, row in enumerate(pool.rows) if row["group"] == "validation"]
        labels = {text: i for i, text in enumerate(tables["label_texts"])}
        self.truth = torch.tensor([labels[row["caption"]] for _, row in rows])
        device = pool.samples.device
        self.text = joined(*(torch.cat([w[k][:1] for w in tables["wordings"]]) for k in (0, 1))).to(device)
        self.mels = []
        for i, _ in rows:
            samples = (
                pool.samples[pool.starts[i] : pool.starts[i] + min(pool.counts[i], SIZE)].float() / 32768
            )
            padded = torch.nn.functional.pad(samples, (0, SIZE - len(samples)))
            self.mels.append(logmel(padded[None])[:, :496].half())

    @torch.no_grad()
    def __call__(self, net: CompactNet, prior: Tensor) -> str:
        """Per cent right, of all clips."""
        if not self.mels:
            return ""
        found = []
        for batch in torch.cat(self.mels).split(64):
            direction, logits, _ = net(batch.float())
            found.append((joined(direction, evidence(logits, prior)) @ self.text.T).argmax(1).cpu())
        return f"validation {100 * float((torch.cat(found) == self.truth).float().mean()):.1f}"


def main() -> None:
    """Train until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--start", type=Path, help="weights to go on from, as they ship")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--leave-out", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device(args.device)
    rng = np.random.default_rng(args.seed)
    tables = torch.load(args.tables)
    pool = Pool(args.pool, device, leave_out=args.leave_out)
    print({name: len(rows) for name, rows in pool.groups.items()}, flush=True)
    examples = Examples(Mixer(pool, device, args.seed), Teacher(args.teacher).to(device), device)
    if args.start:
        mels = torch.cat([examples.views(args.batch)[2].mel for _ in range(64 // args.batch + 1)])
        net = started(args.start, mels)
    else:
        net = with_norms(CompactNet())
        nn.init.constant_(net.logits.bias, -5.0)
    net = net.to(device, memory_format=torch.channels_last)
    objectives = Objectives(tables, pool.rows, LEFT_OUT if args.leave_out else []).to(device)
    means = [
        torch.cat([v.probabilities for v in examples.views(args.batch)]).mean(0) for _ in range(PRIOR_BATCHES)
    ]
    prior = torch.stack(means).mean(0).clamp(min=1e-4)
    if args.start:
        prior = load_file(args.start)["prior"].to(device)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    validation = Validation(pool, examples.logmel, tables)
    parameters = [*net.parameters(), *(p for p in objectives.parameters() if p.requires_grad)]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.03},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=args.rate,
    )
    began, step, told, losses = time.monotonic(), 0, 0.0, {}
    budget = args.minutes * 60

    def save() -> None:
        # What ships is half precision too; the norms, which are folded into it, are not.
        state = {k: v.cpu().half() if v.ndim > 1 else v.cpu() for k, v in average.state_dict().items()}
        done = {"net": state, "prior": prior.cpu(), "seen": step * args.batch, "minutes": elapsed / 60}
        torch.save(done, args.out.with_suffix(".part"))
        args.out.with_suffix(".part").rename(args.out)

    elapsed = 0.0
    while (elapsed := time.monotonic() - began) < budget:
        warm = min(1.0, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = args.rate * warm * (0.5 * (1 + np.cos(np.pi * elapsed / budget)) + 0.002)
        net.train()
        loss = torch.zeros((), device=device)
        for view, weight in zip(examples.views(args.batch), VIEW_WEIGHTS, strict=True):
            with torch.autocast(device.type, torch.bfloat16):
                outputs = net(augmented(view.mel, rng))
            parts = objectives(outputs, view, prior, rng)
            loss = loss + weight * torch.stack(list(parts.values())).sum()
            for name, part in parts.items():
                losses.setdefault(name, []).append(part.detach())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        keep = min(AVERAGE, (1 + step) / (20 + step))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                if a.dtype.is_floating_point:
                    a.lerp_(b, 1 - keep)
        if step == 5 or elapsed - told > max(20, budget / 16):
            told = elapsed
            save()
            mean = {name: round(float(torch.stack(each).mean()), 3) for name, each in losses.items()}
            losses.clear()
            seen = step * args.batch
            print(f"{elapsed:5.0f} s step {step} seen {seen} {mean} {validation(average, prior)}", flush=True)
    save()
    print(
        json.dumps({"seen": step * args.batch, "minutes": args.minutes}),
        validation(average, prior),
        flush=True,
    )


if __name__ == "__main__":
    main()
