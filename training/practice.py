"""Practice streams for choosing settings: clips that no training heard, over recorded backgrounds.

    python -m training.practice --shared ../shared --out PRACTICE

writes recordings with all labels and smoke alarms, and `streams.csv` for `sound-monitor eval` and
`calibrate --positives`. `rooms.txt` lists the backgrounds, for `calibrate --recording`.

Like `../shared/streams`, of ESC-50's folds 1-3 under licences that kept them out of training, over the
backgrounds that streams 6-11 don't have.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from monitor.evaluation.alerts import Span
from monitor.examples import trimmed
from training.clips import ESC_LABELS, RATE_HZ, esc_clips, samples_of

SEED = 7
STREAMS = 24
SECONDS = 120
_RATIOS_DB = (0, 6, 12, 18)
_LEVEL = 0.02
_EVENTS = 12
LEAST_SECONDS = 8
"""Of a background."""


@dataclass(frozen=True)
class Sound:
    """A recording and what is labelled in it."""

    name: str
    kind: str
    """`tune`, `practice`, `held` or `background`."""
    samples: np.ndarray
    occurrences: tuple[tuple[str, Span], ...] = ()


def recordings(shared: Path, labels: Iterable[str]) -> list[Sound]:
    """Read the streams and the backgrounds, and make the practice streams."""
    truth: dict[str, list[tuple[str, Span]]] = {}
    held_backgrounds = set()
    with (shared / "streams" / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            truth.setdefault(row["path"], []).append(
                (row["label"], (float(row["onset"]), float(row["offset"])))
            )
            if _number(row["path"]) >= 6:
                held_backgrounds.add(row["background"])
    streams = [
        Sound(
            name, "tune" if _number(name) < 6 else "held", samples_of(shared / "streams" / name), tuple(found)
        )
        for name, found in sorted(truth.items())
    ]
    backgrounds = [
        Sound(path.name, "background", samples_of(path))
        for path in sorted((shared / "audio" / "background").glob("*.ogg"))
    ]
    allowed = [
        each.samples
        for each in backgrounds
        if each.name not in held_backgrounds and len(each.samples) >= LEAST_SECONDS * RATE_HZ
    ]
    return [*streams, *practice(shared, set(labels), allowed), *backgrounds]


def practice(shared: Path, labels: set[str], backgrounds: list[np.ndarray]) -> list[Sound]:
    """Mix the streams: every clip as often as every other, in random order, 3-7 s apart."""
    rng = np.random.default_rng(SEED)
    clips = [
        (c.label, c.path) for c in esc_clips(shared) if c.fold <= 3 and not c.permissive and c.label in labels
    ]
    if "smoke_alarm" in labels:
        alarms = sorted((shared / "audio" / "smoke_alarm").iterdir())
        clips += [("smoke_alarm", path) for path in alarms]
    order: list[int] = []
    while len(order) < STREAMS * _EVENTS:
        order += rng.permutation(len(clips)).tolist()
    streams = []
    for number in range(STREAMS):
        background = backgrounds[number % len(backgrounds)]
        turned = np.roll(background, -int(rng.integers(len(background))))
        mixed = _at(np.resize(turned, SECONDS * RATE_HZ), _LEVEL)
        gain = 10 ** (_RATIOS_DB[number % len(_RATIOS_DB)] / 20)
        found = []
        position = float(rng.uniform(2.0, 5.0))
        for index in order[number * _EVENTS : (number + 1) * _EVENTS]:
            label, path = clips[index]
            clip = trimmed(samples_of(path)[: 10 * RATE_HZ], RATE_HZ, 5.0)
            seconds = len(clip) / RATE_HZ
            if position + seconds > SECONDS - 2:
                break
            if not clip.size:
                continue
            start = int(position * RATE_HZ)
            mixed[start : start + len(clip)] += _at(clip, _LEVEL * gain)
            found.append((label, (position, position + seconds)))
            position += seconds + float(rng.uniform(3.0, 7.0))
        peak = max(1.0, float(np.abs(mixed).max()))
        streams.append(Sound(f"practice_{number:02d}", "practice", mixed / peak, tuple(found)))
    return streams


def _at(samples: np.ndarray, level: float) -> np.ndarray:
    """Scale to a root mean square."""
    return (samples * (level / np.sqrt(np.mean(samples.astype(np.float64) ** 2)))).astype(np.float32)


def _number(stream: str) -> int:
    return int(stream.split("_")[1])


def main() -> None:
    """Write streams and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = (args.shared / "audio" / "background").resolve()
    rooms = [path for path in sorted(folder.glob("*.ogg")) if soundfile.info(path).duration >= LEAST_SECONDS]
    (args.out / "rooms.txt").write_text("\n".join(map(str, rooms)) + "\n")
    with (args.out / "streams.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "onset", "offset"])
        for stream in practice(args.shared, {*ESC_LABELS, "smoke_alarm"}, [samples_of(r) for r in rooms]):
            soundfile.write(args.out / f"{stream.name}.flac", stream.samples, RATE_HZ)
            for label, (onset, offset) in stream.occurrences:
                table.writerow([f"{stream.name}.flac", label, round(onset, 3), round(offset, 3)])


if __name__ == "__main__":
    main()
