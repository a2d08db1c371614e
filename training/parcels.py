"""Packs a pool into Opus files small enough to carry to another machine, and unpacks them there.

    python -m training.parcels pack --pool POOL --out PARCELS
    python -m training.parcels unpack --out POOL PARCELS/*.opus

12 h become some 110 MB. A clip's samples move by less than a millisecond; the table of clips goes along.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 48000
PIECE = 8 * 60 * RATE_HZ
"""Samples in a file: so many files decode side by side."""
FINE, COARSE = 24000, 16000
"""Bits per second of pieces with labelled clips, and of the others."""
LABELLED = {"esc", "effects", "background", "validation"}


def pack(pool: Path, out: Path) -> None:
    """Write `NNN.opus` and `pool.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(pool / "pool.csv", out)
    with (pool / "pool.csv").open(newline="") as file:
        fine = {int(r["offset"]) // PIECE for r in csv.DictReader(file) if r["group"] in LABELLED}
    samples = np.memmap(pool / "pool.i16", np.int16, "r")
    pieces = range(0, len(samples), PIECE)

    def encode(number: int) -> None:
        command = ["ffmpeg", "-v", "error", "-y", "-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "-"]
        rate = str(FINE if number in fine else COARSE)
        codec = ["-c:a", "libopus", "-b:a", rate, "-compression_level", "3", str(out / f"{number:03}.opus")]
        piece = samples[pieces[number] : pieces[number] + PIECE].tobytes()
        subprocess.run([*command, *codec], input=piece, check=True)
        print(f"{number + 1} of {len(pieces)}", flush=True)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(encode, range(len(pieces))))


def unpack(files: list[Path], out: Path, workers: int) -> None:
    """Write `pool.i16` and `pool.csv` from all files."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(files[0].parent / "pool.csv", out)
    with (out / "pool.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    total = int(last["offset"]) + int(last["samples"])
    pool = np.memmap(out / "pool.i16", np.int16, "w+", shape=(total,))

    def decode(path: Path) -> None:
        data, _ = soundfile.read(path, dtype="int16")
        start = int(path.stem) * PIECE
        pool[start : start + len(data)] = data[: total - start]

    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(decode, files))
    pool.flush()


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    packing = modes.add_parser("pack")
    packing.add_argument("--pool", type=Path, required=True)
    packing.add_argument("--out", type=Path, required=True)
    unpacking = modes.add_parser("unpack")
    unpacking.add_argument("files", type=Path, nargs="+")
    unpacking.add_argument("--out", type=Path, required=True)
    unpacking.add_argument("--workers", type=int, default=16)
    args = parser.parse_args()
    if args.mode == "pack":
        pack(args.pool, args.out)
    else:
        unpack(args.files, args.out, args.workers)


if __name__ == "__main__":
    main()
