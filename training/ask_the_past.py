"""Measures asking the past: retrieval on ESC-50 against comparing by hand, and a made-up week.

    python -m training.ask_the_past --shared ../shared [--work DIR] [--tables retrieval,week]

`retrieval` indexes folds 1-4 of ESC-50 (kept in DIR for the next time) and asks for each of the 50 classes by
its label; `week` makes a history of 604,800 windows, one a second, and searches it cold and warm.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from monitor.config import DEFAULT_BACKGROUND, Config
from monitor.encoders.compact import CompactEncoder
from monitor.history.folder import Folder
from monitor.history.segment import Segment
from monitor.history.values import Kind
from monitor.history.writer import Batch, Writer
from monitor.past.index import Index
from monitor.past.query import Query, Question, embed_query, plain_config
from monitor.past.search import Found, search
from monitor.scoring import Scorer
from training.clips import ESC_LABELS, esc_clips, label_text

TOP = 10
WEEK_WINDOWS = 604_800
BEGAN = 1_750_000_000.0


def ask(config: Config, words: str, encoder: CompactEncoder) -> Question:
    """Embed one query."""
    scorer = Scorer(load=lambda _: encoder)
    try:
        return asyncio.run(embed_query(Query([words]), config, scorer))
    finally:
        scorer.close()


def figures(names: list[str], label: str, relevant: int) -> tuple[float, float]:
    """Average precision and recall at TOP of a ranking of files `label/name`."""
    hits = np.array([name.split("/")[0] == label for name in names[:TOP]], dtype=float)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / min(TOP, relevant)), float(hits.sum() / relevant)


def by_hand(stored: dict[str, np.ndarray], words: str, encoder: CompactEncoder) -> list[str]:
    """Rank the files by the best of their stored embeddings, with nothing but numpy."""
    text = encoder.embed_text([words, *DEFAULT_BACKGROUND]).astype(np.float64)
    best = {}
    for name, embeddings in stored.items():
        logits = encoder.logit_scale * embeddings @ text.T
        best[name] = (logits[:, 0] - np.log(np.exp(logits[:, 1:]).sum(axis=1))).max()
    return sorted(best, key=lambda name: -best[name])[:TOP]


def embeddings_of(segments: list[Segment]) -> dict[str, np.ndarray]:
    """Read all embeddings, by file, (windows, D)."""
    kept = {}
    for segment in segments:
        rows = [block.embeddings for block in segment.blocks(quiet=False)]
        if rows:
            kept[segment.kind.source] = np.concatenate(rows).astype(np.float64)
    return kept


def retrieval(shared: Path, work: Path) -> None:
    """Print mean average precision and recall, of search and by hand."""
    recordings = work / "esc"
    folds = {}
    for clip in esc_clips(shared):
        link = recordings / clip.label / clip.path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(clip.path.resolve())
        folds[f"{clip.label}/{clip.path.name}"] = clip.fold
    config = plain_config("compact", 2.0, 1.0)
    index = Index(recordings)
    began = time.perf_counter()
    encoder = CompactEncoder.load()
    done = index.update(config, encoder, lambda *_: None)
    took = time.perf_counter() - began
    print(f"  index: {done.added} files, {done.seconds / 3600:.2f} h, {took:.0f} s; {done.failures}")
    segments = list(index.segments())
    stored, equal = embeddings_of(segments), 0
    for title, chosen in (("folds 1-4", {1, 2, 3, 4}), ("fold 4, never trained on", {4})):
        inside = {name for name, fold in folds.items() if fold in chosen}
        asked = [segment for segment in segments if segment.kind.source in inside]
        held = {name: rows for name, rows in stored.items() if name in inside}
        rows = []
        for label in ESC_LABELS:
            relevant = sum(name.startswith(f"{label}/") for name in inside)
            question = ask(config, label_text(label), encoder)
            found = search(asked, question, top=TOP, min_gap_seconds=60)
            names = [moment.source for moment in found.moments]
            equal += names == by_hand(held, label_text(label), encoder)
            rows.append(figures(names, label, relevant))
        precision, recall = np.mean(rows, axis=0)
        most = min(1.0, TOP / relevant)
        print(f"  {title:26} mAP@{TOP} {precision:.3f}  recall@{TOP} {recall:.3f} (at most {most:.3f})")
    print(f"  the same files in the same order as by hand: {equal} of {2 * len(ESC_LABELS)} queries")


def make_week(folder: Path) -> None:
    """Write a week of one source, a window a second."""
    rng = np.random.default_rng(0)
    writer = Writer(Folder(folder), 1e6, 1e15)
    kind = Kind("hall", CompactEncoder.load().identity, "compact", 2.0, 1.0, 783)
    with Folder(folder).lock():
        for first in range(0, WEEK_WINDOWS, 3600):
            rows = np.abs(rng.standard_normal((3600, 783), dtype=np.float32))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            times = BEGAN + np.arange(first, first + 3600)
            writer.write(
                [Batch([kind] * 3600, times, [-40.0] * 3600, [not first] * 3600, rows.astype(np.float16))], []
            )
        writer.close()


def forget(folder: Path) -> None:
    """Have none of it in memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def search_week(folder: Path) -> Found:
    """Search it once, and print how long that took and the most memory."""
    question = ask(plain_config("compact", 2.0, 1.0), "sound of train", CompactEncoder.load())
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    began = time.perf_counter()
    found = search(Folder(folder).segments(), question)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = f"{most / 1024:.0f} MiB at most, {before / 1024:.0f} of it before"
    print(f"{found.windows} windows, {took:.2f} s ({cpu:.2f} s of processor), {memory}")
    return found


def week(work: Path) -> None:
    """Print time and memory of searching a week, cold and warm."""
    folder = work / "week"
    if not folder.exists():
        began = time.perf_counter()
        make_week(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"  written in {time.perf_counter() - began:.0f} s, {size / 1e6:.0f} MB")
    command = [sys.executable, "-m", "training.ask_the_past", "--work", str(work), "--tables", "search_week"]
    forget(folder)
    for state in ("cold", "warm", "warm"):
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"  {state}: {out.strip()}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ask-the-past")
    parser.add_argument("--tables", default="retrieval,week")
    arguments = parser.parse_args()
    for table in arguments.tables.split(","):
        if table == "search_week":
            search_week(arguments.work / "week")
            continue
        print(table)
        retrieval(arguments.shared, arguments.work) if table == "retrieval" else week(arguments.work)


if __name__ == "__main__":
    main()
