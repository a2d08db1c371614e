"""Collects training audio: one pass over recordings to a flat 48 kHz mono int16 pool with captions.

    python -m training.audio --shared ../shared --packages /path/to/unpacked/debs --pool /path/to/pool

`--packages` holds one folder per Debian package, made with `apt-get download P && dpkg -x P_*.deb FOLDER/P`.
The pool is `pool.i16` (samples, end to end) and `pool.csv` (offset, samples, origin, caption, group).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ = 48000
CLIP_SECONDS = 10
MAX_CLIPS_PER_FILE = 6
PERMISSIVE = re.compile(r"clip: (CC0|CC-BY)$")
SUFFIXES = {".ogg", ".wav", ".mp3", ".flac", ".oga", ".opus", ".au", ".aif", ".aiff"}
HELD_OUT_FOLD = "4"
# Backgrounds that the alert streams are made of: kept out, so that the streams stay an unseen test.
STREAM_BACKGROUNDS = {
    "berlin_35EF0BF2", "ambient_heavy-rain", "blanket_coffee-shop", "blanket_fireplace", "blanket_train",
    "librosa_147793__setuniman__sweet_waltz_0i_22mi", "paa_recording1", "sc_exercise_bike", "silero_speech",
    "blanket_city", "librosa_198_209_0000", "sc_running_tap",
}  # fmt: skip
FILE_CAPS = {
    "klettres-data": 120,
    "asterisk-core-sounds-en-wav": 150,
    "hydrogen-drumkits": 250,
    "hedgewars-data": 350,
}
DEFAULT_CAP = 700
OTHER_LANGUAGE_CAP = 60
MUSIC = re.compile(r"music|soundtrack|/bgm|fretsonfire|moh-opsound|/mods/.*song", re.IGNORECASE)
SPEECH = re.compile(r"asterisk-core|klettres|_desc|/voices?/|festvox|narrat|numbers/|alphabet", re.IGNORECASE)
NOISE_WORDS = {
    "audio", "base", "builtin", "common", "core", "data", "default", "effects", "factions", "final",
    "fx", "games", "hedgewars", "loop", "low", "media", "megapack", "minetest", "misc", "mod",
    "mods", "mono", "new", "ogg", "old", "other", "scenario", "sfx", "share", "snd", "sound",
    "sounds", "stamps", "stereo", "techs", "textures", "units", "usr", "wav", "wesnoth",
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One file to take in."""

    path: Path
    origin: str
    """Package or manifest source."""
    caption: str
    """Words for what is heard; empty where the name says nothing."""
    group: str
    """esc | effects | background | package | music | speech | synth | validation, which nothing trains on."""


def words(path: Path) -> str:
    """Turn the last two parts of a path into words: `animals/big_dog-2.wav` -> `animals big dog`."""
    text = f"{path.parent.name} {path.stem}"
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    tokens = [t for t in re.split(r"[^A-Za-z]+", text.lower()) if len(t) > 2 and t not in NOISE_WORDS]
    return " ".join(dict.fromkeys(tokens))


def shared_items(shared: Path) -> Iterator[Item]:
    """ESC folds 1-3, effects, backgrounds that no stream uses; clips that aren't permissive only validate."""
    with (shared / "audio" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder, path = row["path"].split("/")[0], shared / "audio" / row["path"]
        if folder in {"esc10", "esc50"}:
            if not path.name.startswith(HELD_OUT_FOLD):
                group = "esc" if PERMISSIVE.search(row["licence"]) else "validation"
                yield Item(path, row["source"], row["label"].replace("_", " "), group)
        elif folder == "effects":
            yield Item(path, row["source"], row["label"].removeprefix("caption: "), "effects")
        elif folder == "background" and path.stem not in STREAM_BACKGROUNDS:
            caption = row["label"].removeprefix("background:").replace("_", " ").replace("-", " ")
            yield Item(path, row["source"], caption, "background")


def package_items(packages: Path) -> Iterator[Item]:
    """Sounds of unpacked Debian packages, a bounded number from each, so that none drowns the others."""
    for package in sorted(p for p in packages.iterdir() if p.is_dir()):
        paths = sorted(p for p in package.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        random.Random(package.name).shuffle(paths)
        if package.name == "tuxpaint-stamps-default":
            spoken = [p for p in paths if "_desc" in p.name]
            paths = [p for p in paths if "_desc" not in p.name] + spoken[:200]
        cap = FILE_CAPS.get(package.name, DEFAULT_CAP)
        if re.search(r"sounds-(fr|es|ru|it)-", package.name):
            cap = OTHER_LANGUAGE_CAP
        for path in paths[:cap]:
            name = str(path.relative_to(packages))
            if MUSIC.search(name):
                yield Item(path, package.name, "music", "music")
            elif SPEECH.search(name):
                yield Item(path, package.name, "speech", "speech")
            else:
                yield Item(path, package.name, words(path.relative_to(package)), "package")


def clips(item: Item) -> list[np.ndarray]:
    """Decode, mix to mono, resample and cut one file; near-silent pieces are dropped."""
    try:
        with soundfile.SoundFile(item.path) as file:
            limit = 60 if item.group == "music" else 240
            data = file.read(int(file.samplerate * limit), dtype="float32", always_2d=True)
            rate_hz = file.samplerate
    except (RuntimeError, soundfile.LibsndfileError, ValueError):
        return []
    if len(data) < 0.05 * rate_hz:
        return []
    mono = data.mean(axis=1)
    if rate_hz != RATE_HZ:
        mono = soxr.resample(mono, rate_hz, RATE_HZ, quality="MQ")
    size = CLIP_SECONDS * RATE_HZ
    pieces = [mono[i : i + size] for i in range(0, max(1, len(mono) - size // 4), size)]
    most = 3 if item.group == "music" else MAX_CLIPS_PER_FILE
    if len(pieces) > most:
        pieces = [pieces[i] for i in np.linspace(0, len(pieces) - 1, most).astype(int)]
    result = []
    for piece in pieces:
        peak = float(np.max(np.abs(piece)))
        if not np.isfinite(peak) or peak < 0.003:
            continue
        # A common peak: quiet game sounds and hot recordings then get the same range of gains in training.
        result.append((piece * (0.7 / peak) * 32767).astype(np.int16))
    return result


def main() -> None:
    """Write the pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument(
        "--extra", type=Path, help="folder of synthesised sounds, caption in the folder's name"
    )
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    items = list(shared_items(args.shared))
    if args.packages:
        items += package_items(args.packages)
    if args.extra:
        items += [
            Item(p, "synthesised", p.parent.name.replace("_", " "), "synth")
            for p in sorted(args.extra.glob("*/*.wav"))
        ]
    args.pool.mkdir(parents=True, exist_ok=True)
    seen: set[bytes] = set()
    position = 0
    with (
        (args.pool / "pool.i16").open("wb") as samples,
        (args.pool / "pool.csv").open("w", newline="") as table,
        ProcessPoolExecutor(args.workers) as pool,
    ):
        writer = csv.writer(table)
        writer.writerow(["offset", "samples", "origin", "file", "caption", "group"])
        for item, pieces in zip(items, pool.map(clips, items, chunksize=32), strict=True):
            for piece in pieces:
                digest = hashlib.sha1(piece[:48000].tobytes()).digest()
                if digest in seen:
                    continue
                seen.add(digest)
                samples.write(piece.tobytes())
                writer.writerow([position, len(piece), item.origin, item.path.name, item.caption, item.group])
                position += len(piece)
    print(f"{len(seen)} clips, {position / RATE_HZ / 3600:.2f} h")


if __name__ == "__main__":
    main()
