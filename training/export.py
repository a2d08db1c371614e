"""Writes what the package ships: weights (fp16, int8 token table), tokenizer and settings.

python -m training.export --run run.pt --out monitor/encoders/weights [--text text.pt] [--logit-scale 10 ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.encoders.compact import CONFIG, TOKENIZER, WEIGHTS
from training.net import CompactNet
from training.objectives import CLASS_SHARE, EVIDENCE_POWER, LOGIT_SCALE, PRIOR_POWER
from training.textnet import to_int8

EPSILON = 1e-5


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Merge each batch normalisation into the convolution before it."""
    result = {}
    for name, stored in state.items():
        value = stored.float()
        if ".norm." in name:
            continue
        norm = name.removesuffix("conv.weight") + "norm."
        if name.endswith("conv.weight") and norm + "weight" in state:
            gain = state[norm + "weight"] / torch.sqrt(state[norm + "running_var"] + EPSILON)
            result[name] = value * gain[:, None, None, None]
            result[name.replace("weight", "bias")] = (
                state[norm + "bias"] - state[norm + "running_mean"] * gain
            )
        else:
            result[name] = value
    CompactNet().load_state_dict(result)
    return result


def mean(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the mean of two sets of weights, of which one went on from the other."""
    return {
        name: ((value.float() + others[name].float()) / 2).to(value.dtype) for name, value in tensors.items()
    }


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, help="a new text side; without it that of --out stays")
    parser.add_argument(
        "--mean", action="store_true", help="of this run and the weights of --out, it went on from"
    )
    parser.add_argument("--name", default=WEIGHTS)
    parser.add_argument(
        "--audio-only", action="store_true", help="leave the text side out (it is the same for all runs)"
    )
    parser.add_argument("--logit-scale", type=float, default=LOGIT_SCALE)
    parser.add_argument("--class-share", type=float, default=CLASS_SHARE)
    parser.add_argument("--class-power", type=float, default=1.0)
    args = parser.parse_args()
    run = torch.load(args.run)
    tensors = {"audio." + k: v.half().contiguous() for k, v in folded(run["net"]).items()}
    tensors["prior"] = run["prior"].float()
    if args.mean:
        tensors = mean(tensors, load_file(args.out / args.name))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.audio_only:
        save_file(tensors, args.out / args.name, metadata={"format": "pt"})
        return
    if args.text:
        text = torch.load(args.text)
        state = text["state"]
        tensors["table"], scales = to_int8(state.pop("tokens.weight"))
        tensors["scales"] = scales.half()
        tensors |= {"text." + k: v.half().contiguous() for k, v in state.items()}
        document = json.dumps(json.loads(text["tokenizer"]), separators=(",", ":"))
        (args.out / TOKENIZER).write_text(document + "\n")
    else:
        tensors = load_file(args.out / args.name) | tensors
    save_file(tensors, args.out / args.name, metadata={"format": "pt"})
    settings = {
        "version": 1, "net": {}, "evidence_power": EVIDENCE_POWER, "prior_power": PRIOR_POWER,
        "class_share": args.class_share, "class_power": args.class_power, "logit_scale": args.logit_scale,
    }  # fmt: skip
    (args.out / CONFIG).write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
