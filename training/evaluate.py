# ruff: noqa: SLF001
"""Reproduces the model card's tables from the shipped weights and the `leftout` checkpoint.

    python -m training.evaluate --shared ../shared [--tables accuracy,teacher,lengths,trains,speed]

Everything is scored on ESC-50's fold 4, which nothing trains on and nothing is tuned on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors.torch import load_file, save

from monitor.encoders import compact
from monitor.encoders.compact import CompactEncoder
from monitor.encoders.compact_net import unit
from monitor.types import Window
from training.clips import ESC_LABELS, Clip, esc_clips, label_text, samples_of
from training.leftout import LEFT_OUT

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "monitor" / "encoders" / "weights"
LEFTOUT = HERE / "checkpoints" / "leftout.safetensors"
FORMS = ("{}", "the sound of {}")
RATE = 48000


def build(audio: Path | None = None, share: float | None = None) -> CompactEncoder:
    """Build the shipped encoder, or its text side with another run's audio side."""
    weights = (WEIGHTS / compact.WEIGHTS).read_bytes()
    if audio:
        weights = save(load_file(WEIGHTS / compact.WEIGHTS) | load_file(audio))
    encoder = CompactEncoder(
        weights, (WEIGHTS / compact.TOKENIZER).read_text(), (WEIGHTS / compact.CONFIG).read_text()
    )
    if share is not None:
        encoder._class_share = share
    return encoder


def window(samples: np.ndarray, source: str = "x", position: int = 0) -> Window:
    """Wrap samples."""
    return Window(source, position, RATE, samples, 0.0, len(samples) / RATE, -20.0)


def embed(encoder: CompactEncoder, clips: list[Clip], seconds: float | None = None) -> np.ndarray:
    """Embeddings of whole clips, or of the loudest `seconds` of each, (clips, D)."""
    rows = []
    for i, clip in enumerate(clips):
        samples = samples_of(clip.path)[: 5 * RATE]
        samples = np.pad(samples, (0, 5 * RATE - len(samples)))
        if seconds:
            size = int(seconds * RATE)
            energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
            starts = np.arange(0, len(samples) - size + 1, RATE // 10)
            start = int(starts[np.argmax(energy[starts + size] - energy[starts])])
            samples = samples[start : start + size]
        rows.append(encoder.embed_audio([window(samples, f"clip{i}")])[0])
        encoder.forget()
    return np.stack(rows)


def top1(
    audio: np.ndarray, text: np.ndarray, clips: list[Clip], options: list[str], keep: list[str]
) -> float:
    """Per cent of the clips of the classes `keep` whose best label of `options` is right."""
    columns = [ESC_LABELS.index(o) for o in options]
    rows = [i for i, c in enumerate(clips) if c.label in keep]
    best = (audio[rows] @ text[columns].T).argmax(axis=1)
    return 100 * float(np.mean([options[b] == clips[i].label for b, i in zip(best, rows, strict=True)]))


def accuracy(encoder: CompactEncoder, audio: np.ndarray, clips: list[Clip]) -> str:
    """Return one row per question, plain / phrased."""
    lines = []
    seen = [name for name in ESC_LABELS if name not in LEFT_OUT]
    texts = [encoder.embed_text([form.format(label_text(n)) for n in ESC_LABELS]) for form in FORMS]
    for title, options, keep in (
        ("50-way, all clips", ESC_LABELS, ESC_LABELS),
        ("50-way, clips of the 40 other classes", ESC_LABELS, seen),
        ("10-way, clips of the ten classes", LEFT_OUT, LEFT_OUT),
        ("50-way, clips of the ten classes", ESC_LABELS, LEFT_OUT),
    ):
        found = [top1(audio, text, clips, options, keep) for text in texts]
        lines.append(f"  {title:40} " + " / ".join(f"{f:.1f}" for f in found))
    return "\n".join(lines)


def teacher_table(shared: Path, clips: list[Clip], encoder: CompactEncoder) -> None:
    """Score the teacher with its own front end, its classes matched by MiniLM and by our text side."""
    from training.sentences import model_folder  # noqa: PLC0415
    from training.teacher import Teacher  # noqa: PLC0415

    teacher = Teacher(shared / "teacher")
    rows = []
    for clip in clips:
        narrow = soxr.resample(samples_of(clip.path)[: 5 * RATE], RATE, 32000)
        rows.append(teacher(teacher.spectrogram(torch.from_numpy(narrow)[None]))[0][0].numpy())
    power = np.exp(-encoder._evidence_power * np.logaddexp(0.0, -np.stack(rows)))
    evidence = unit(power * encoder._debias)
    for form in FORMS:
        prompts = [form.format(label_text(n)) for n in ESC_LABELS]
        text = encoder.embed_text(prompts)[:, 256:]
        print(f"  teacher, our text side, {form!r}: {top1(evidence, text, clips, ESC_LABELS, ESC_LABELS):.1f}"
              f"  ten classes 10-way {top1(evidence, text, clips, LEFT_OUT, LEFT_OUT):.1f}")  # fmt: skip
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        except ImportError:
            continue
        model = SentenceTransformer(str(model_folder()), device="cpu")
        like = (
            model.encode(prompts, normalize_embeddings=True)
            @ model.encode(teacher.names, normalize_embeddings=True).T
        )
        text = torch.softmax(torch.from_numpy(like) / 0.05, 1).numpy()
        print(f"  teacher, MiniLM, {form!r}: {top1(evidence, text, clips, ESC_LABELS, ESC_LABELS):.1f}"
              f"  ten classes 10-way {top1(evidence, text, clips, LEFT_OUT, LEFT_OUT):.1f}")  # fmt: skip


def trains(encoder: CompactEncoder, audio: np.ndarray, clips: list[Clip]) -> None:
    """Rank five ways of travelling on recordings of trains."""
    labels = ["Sound of train", "Sound of bus", "Sound of flight", "Sound of bike", "Sound of boat"]
    text = encoder.embed_text(labels)
    for clip, row in zip(clips, audio, strict=True):
        if clip.label == "train":
            scores = np.exp(encoder.logit_scale * (text @ row))
            ranked = sorted(zip(scores / scores.sum(), labels, strict=True), reverse=True)
            print(f"  {clip.path.name}: " + ", ".join(f"{label[9:]} {score:.2f}" for score, label in ranked))


def median_ms(call: Callable[[], object], repeats: int = 30) -> float:
    """Median of timed calls after three warm-ups: ms of CPU time, which a busy machine inflates less."""
    times = []
    for i in range(repeats + 3):
        began = time.process_time()
        call()
        times.append((time.process_time() - began) * 1e3)
        if i == 2:
            times.clear()
    return float(np.median(times))


@torch.inference_mode()
def speed() -> None:
    """One thread: whole windows, hops, and a full-size CLAP audio tower with random weights."""
    encoder = build()
    rng = np.random.default_rng(1)
    stream = (0.1 * rng.standard_normal(400 * RATE)).astype(np.float32)

    def whole(seconds: float) -> Callable[[], None]:
        def call() -> None:
            encoder.forget()
            encoder.embed_audio([window(stream[: int(seconds * RATE)])])

        return call

    def hop(seconds: float, length: float) -> Callable[[], None]:
        state = [0]
        encoder.forget()

        def call() -> None:
            start = state[0]
            state[0] += int(seconds * RATE)
            encoder.embed_audio([window(stream[start : start + int(length * RATE)], "s", start)])

        return call

    results = {f"{s} s window, whole": median_ms(whole(s)) for s in (1, 2.5, 5, 10)}
    results |= {
        f"{h} s hop of a {s} s window": median_ms(hop(h, s)) for s in (5, 10) for h in (0.25, 0.5, 1.0)
    }
    with torch.autocast("cpu", torch.bfloat16):
        results["5 s window, whole, bf16"] = median_ms(whole(5))
    results["text prompt"] = median_ms(lambda: encoder.embed_text(["the sound of a smoke alarm"]))
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection  # noqa: PLC0415

    tower = ClapAudioModelWithProjection(ClapAudioConfig()).eval()
    features = torch.randn(1, 1, 1001, 64)
    results["CLAP audio tower (random weights), any window"] = median_ms(lambda: tower(features), 5)
    for name, value in results.items():
        print(f"  {name:48} {value:8.2f} ms")
    clap = results["CLAP audio tower (random weights), any window"]
    print(f"  CLAP / 0.5 s hop: {clap / results['0.5 s hop of a 5 s window']:.0f}   CLAP / whole 5 s: "
          f"{clap / results['5 s window, whole']:.0f}")  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--tables", default="accuracy,teacher,lengths,trains,speed")
    parser.add_argument("--fold", type=int, default=4)
    args = parser.parse_args()
    tables = args.tables.split(",")
    torch.set_num_threads(1)
    clips = [c for c in esc_clips(args.shared) if c.fold == args.fold]
    shipped, leftout = build(), build(LEFTOUT) if LEFTOUT.exists() else None
    audio = embed(shipped, clips) if tables != ["speed"] else np.zeros(0)
    if "accuracy" in tables:
        print(f"fold {args.fold}, {len(clips)} clips, per cent right, plain label / 'the sound of ...'")
        print(f" shipped {shipped.identity}\n" + accuracy(shipped, audio, clips))
        if leftout:
            print(f" leftout {leftout.identity}\n" + accuracy(leftout, embed(leftout, clips), clips))
        for share, name in ((0.0, "direction only"), (1.0, "classes only")):
            part = build(share=share)
            print(f" shipped, {name}\n" + accuracy(part, embed(part, clips), clips).split("\n")[0])
    if "teacher" in tables:
        teacher_table(args.shared, clips, shipped)
    if "lengths" in tables:
        for seconds in (0.5, 1.0, 2.0, 3.0):
            print(
                f" shipped, loudest {seconds} s\n"
                + accuracy(shipped, embed(shipped, clips, seconds), clips).split("\n")[0]
            )
    if "trains" in tables:
        trains(shipped, audio, clips)
    if "speed" in tables:
        speed()


if __name__ == "__main__":
    main()
