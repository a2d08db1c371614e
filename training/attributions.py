"""Lists whose recordings trained the weights: `attributions.tsv` by source, `attributions_esc.tsv` by clip.

python -m training.attributions --pool POOL --packages PACKAGES --shared ../shared --out training
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
from collections import Counter
from pathlib import Path


def licences(folder: Path) -> str:
    """Short names of the licences in a package's copyright file."""
    for path in sorted(folder.glob("usr/share/doc/*/copyright")):
        found = re.findall(r"^License:\s*(\S[^\n]*)", path.read_text(errors="replace"), re.MULTILINE)
        if found:
            return ", ".join(dict.fromkeys(f.strip() for f in found))
    return "see the package's copyright file"


def version(package: str) -> str:
    """Debian's version of a package."""
    done = subprocess.run(["apt-cache", "show", package], capture_output=True, text=True, check=False)
    match = re.search(r"^Version: (\S+)", done.stdout, re.MULTILINE)
    return match.group(1) if match else ""


def main() -> None:
    """Write both lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with (args.pool / "pool.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (args.shared / "audio" / "manifest.csv").open(newline="") as file:
        manifest = list(csv.DictReader(file))
    by_file = {Path(r["path"]).name: r for r in manifest}
    clips, seconds = Counter(r["origin"] for r in rows), Counter()
    for row in rows:
        seconds[row["origin"]] += int(row["samples"]) / 48000
    with (args.out / "attributions.tsv").open("w") as file:
        file.write("source\tversion\tclips\tseconds\tlicences\n")
        for origin, count in sorted(clips.items()):
            if (args.packages / origin).is_dir():
                origin_version, licence = f"Debian {version(origin)}", licences(args.packages / origin)
            elif origin == "synthesised":
                origin_version, licence = (
                    "training/synth.py",
                    "own (Apache-2.0); FluidR3_GM soundfont (MIT); espeak-ng voices",
                )
            else:
                mine = [r for r in manifest if r["source"] == origin]
                origin_version = ", ".join(sorted({r["origin_repo"] for r in mine}))
                licence = "; ".join(sorted({re.sub(r"\s+", " ", r["licence"]) for r in mine}))
                if origin.startswith("ESC"):
                    licence = "clips under CC0 or CC-BY only, see attributions_esc.tsv"
            file.write(f"{origin}\t{origin_version}\t{count}\t{seconds[origin]:.0f}\t{licence}\n")
    notices = (args.shared / "audio" / "esc50_ATTRIBUTION.txt").read_text(errors="replace").splitlines()
    notices += (args.shared / "audio" / "esc10_ATTRIBUTION.md").read_text(errors="replace").splitlines()
    by_clip: dict[str, str] = {}
    for line in notices:
        for name in re.findall(r"\d-\d+-[A-Z]", line):
            by_clip.setdefault(name, re.sub(r"\s+", " ", line).strip())
    with (args.out / "attributions_esc.tsv").open("w") as file:
        file.write("clip\tlabel\tlicence\tnotice\n")
        for name in sorted({r["file"] for r in rows if r["group"] == "esc"}):
            key = re.match(r"\d-\d+-[A-Z]", name)
            notice = by_clip.get(key.group(0), "") if key else ""
            licence = by_file[name]["licence"].rpartition("clip: ")[2]
            file.write(f"{name}\t{by_file[name]['label']}\t{licence}\t{notice}\n")


if __name__ == "__main__":
    main()
