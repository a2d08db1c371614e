"""Fits the static text table: token vectors and a small network, from sentence embeddings and the thesaurus.

    python -m training.text --phrases phrases.txt --embeddings phrases.npy --teacher TEACHER --out text.pt

`--phrases` and `--embeddings` come from `training.sentences`.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from monitor.encoders.compact_text import tokenizer_from
from training.sentences import model_folder, templates, thesaurus
from training.textnet import TextNet

VOCABULARY = 20500


def prune(document: dict, phrases: list[str], size: int) -> dict:
    """Keep single characters, tokens that the phrases use, then the most frequent others (BERT's order)."""
    vocabulary: dict[str, int] = document["model"]["vocab"]
    ascii_tokens = [t for t in vocabulary if (t.isascii() and not t.startswith("[")) or t == "[UNK]"]
    full = tokenizer_from(json.dumps(document))
    used: dict[str, int] = {}
    for encoding in full.encode_batch(phrases, add_special_tokens=False):
        for token in encoding.tokens:
            used[token] = used.get(token, 0) + 1
    kept = [t for t in ascii_tokens if len(t.removeprefix("##")) == 1 or t == "[UNK]"]
    chosen = set(kept)
    by_use = sorted((t for t in ascii_tokens if t in used), key=lambda t: -used[t])
    for token in by_use + ascii_tokens:
        if len(chosen) >= size:
            break
        chosen.add(token)
    ordered = sorted(chosen, key=lambda t: vocabulary[t])
    document = dict(document, truncation=None, padding=None, post_processor=None, added_tokens=[])
    document["model"] = dict(document["model"], vocab={token: i for i, token in enumerate(ordered)})
    return document


def bags(token_lists: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat ids and offsets."""
    lengths = torch.tensor([0] + [len(t) for t in token_lists[:-1]])
    return torch.tensor([i for t in token_lists for i in t], dtype=torch.long), torch.cumsum(lengths, 0)


def main() -> None:
    """Fit, quantise and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phrases", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = random.Random(1)
    phrases = args.phrases.read_text().split("\n")
    sentences = torch.from_numpy(np.load(args.embeddings).astype(np.float32))
    row = {p: i for i, p in enumerate(phrases)}
    with (args.teacher / "audioset_527.csv").open(newline="") as file:
        names = [r["display_name"] for r in csv.DictReader(file)]
    table = {p: w for p, w in thesaurus(names) if p in row}
    for i, name in enumerate(names):
        table.setdefault(name, np.eye(527, dtype=np.float32)[i])
    anchors = list(table)
    anchor_rows = torch.tensor([row[p] for p in anchors])
    anchor_weights = torch.from_numpy(np.stack([table[p] for p in anchors]))

    # Class evidence of phrases outside the thesaurus: its entries, weighted by sentence similarity.
    weights = torch.empty(len(phrases), 527)
    for start in range(0, len(phrases), 4096):
        near = torch.softmax(sentences[start : start + 4096] @ sentences[anchor_rows].T / 0.04, dim=1)
        weights[start : start + 4096] = near @ anchor_weights
    weights[anchor_rows] = anchor_weights
    known = torch.zeros(len(phrases), dtype=torch.bool)
    known[anchor_rows] = True

    # 256 directions of largest variance over sound phrases, centred so that "a sound" is near zero.
    centre = sentences[anchor_rows].mean(0)
    mixed = torch.cat([sentences[anchor_rows], sentences[torch.randperm(len(phrases))[:8000]]]) - centre
    _, vectors = torch.linalg.eigh(mixed.T @ mixed)
    basis = vectors[:, -256:]
    targets = functional.normalize((sentences - centre) @ basis, dim=1)
    print("targets ready", flush=True)

    document = prune(json.loads((model_folder() / "tokenizer.json").read_text()), phrases, VOCABULARY)
    tokenizer = tokenizer_from(json.dumps(document))
    net = TextNet(len(document["model"]["vocab"]))
    forms = templates()
    phrase_ids = [e.ids for e in tokenizer.encode_batch(phrases, add_special_tokens=False)]
    form_ids = [
        tuple([e.ids for e in tokenizer.encode_batch(f.split("{}"), add_special_tokens=False)]) for f in forms
    ]
    # Start each token at the mean target of the phrases that hold it.
    total, count = torch.zeros(net.tokens.weight.shape), torch.zeros(len(net.tokens.weight))
    for ids, target in zip(phrase_ids, targets, strict=True):
        for i in ids:
            total[i] += target
            count[i] += 1
    with torch.no_grad():
        net.tokens.weight.copy_(total / (count[:, None] + 1) + 0.02 * torch.randn_like(total))

    held = torch.rand(len(phrases)) < 0.04
    held &= torch.tensor([p not in names for p in phrases])
    train_rows = (~held).nonzero().squeeze(1)
    share = torch.where(known[train_rows], 3.0, 1.0)
    net.tokens.sparse = True
    rest = [p for n, p in net.named_parameters() if n != "tokens.weight"]
    optimisers = [torch.optim.Adam(rest, lr=3e-3), torch.optim.SparseAdam([net.tokens.weight], lr=3e-3)]
    began, step = time.monotonic(), 0
    budget = args.minutes * 60
    while (elapsed := time.monotonic() - began) < budget:
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + np.cos(np.pi * elapsed / budget)) + 1e-5
        chosen = train_rows[torch.multinomial(share, 512, replacement=True)].tolist()
        batch = []
        for r in chosen:
            ids = phrase_ids[r]
            if rng.random() < 0.5:
                before, after = rng.choice(form_ids)
                ids = before + ids + after
            if len(ids) > 3 and rng.random() < 0.2:
                ids = [i for i in ids if rng.random() > 0.15] or ids
            batch.append(ids)
        direction, evidence = net(*bags(batch))
        like = 1 - (direction * targets[chosen]).sum(1)
        entropy = -(weights[chosen] * torch.log_softmax(evidence, dim=1)).sum(1)
        loss = (like + 0.15 * entropy * torch.where(known[chosen], 1.0, 0.4)).mean()
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        if step % 200 == 0:
            print(f"{elapsed:5.0f} s  step {step}  loss {loss.item():.3f}", flush=True)

    net.quantise()
    net.eval()
    with torch.no_grad():
        direction, evidence = net(*bags(phrase_ids))
        cosine = (direction * targets).sum(1)
        found = functional.normalize(torch.softmax(evidence, 1), dim=1)
        agreement = (found * functional.normalize(weights, dim=1)).sum(1)
        for name, mask in (("fitted", ~held), ("held out", held)):
            for kind, sub in (("thesaurus", known), ("other", ~known)):
                rows = mask & sub
                print(
                    f"{name} {kind}: cosine to MiniLM {cosine[rows].mean():.3f}",
                    f"classes {agreement[rows].mean():.3f}",
                )
        worst = []
        plain = [phrase_ids[r] for r in anchor_rows[:400].tolist()]
        base = net(*bags(plain))[0]
        for text, (before, after) in zip(forms, form_ids, strict=True):
            same = (net(*bags([before + ids + after for ids in plain]))[0] * base).sum(1).mean().item()
            worst.append((same, text))
        print("templates, mean cosine to the bare phrase:", [(round(c, 3), t) for c, t in sorted(worst)[:6]])
    torch.save({"state": net.state_dict(), "tokenizer": json.dumps(document)}, args.out)


if __name__ == "__main__":
    main()
