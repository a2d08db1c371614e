"""How much a prompt's wording matters: the table of the README's page on prompts.

    python -m training.wordings --shared ../shared [--cache CACHE.pkl]

Average precision of the frames, mean over 30 sounds, on streams 0-5 and the practice streams: clips that no
training heard.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monitor.config import Config, EmaSmoothing, EventConfig
from training.scoring_bench import CHOOSING, Bench, shipped

ALSO = {
    "car_horn": "the honk of a car|a driver sounding the horn",
    "cat": "the meow of a hungry cat|a cat crying for food",
    "chainsaw": "the roar of a chainsaw|a chainsaw cutting through a tree",
    "church_bells": "the bells of a church|a bell tolling in a tower",
    "clapping": "applause|an audience applauding",
    "clock_alarm": "the buzzer of an alarm clock|an alarm clock going off in the morning",
    "coughing": "a dry cough|someone having a fit of coughing",
    "cow": "the moo of a cow|cattle lowing in a meadow",
    "crow": "the caw of a crow|crows calling from a tree",
    "crying_baby": "the cry of an infant|a newborn wailing",
    "dog": "the bark of a dog|a dog woofing at the door",
    "door_wood_knock": "a knock on the door|knuckles rapping on wood",
    "engine": "the hum of a motor|a car engine idling",
    "fireworks": "the bangs of fireworks|rockets bursting in the sky",
    "footsteps": "someone walking|steps on a hard floor",
    "frog": "the croak of a frog|frogs calling at a pond",
    "glass_breaking": "shattering glass|a window is smashed",
    "hand_saw": "a saw going back and forth|sawing a plank",
    "helicopter": "the rotor of a helicopter|a helicopter hovering overhead",
    "keyboard_typing": "keys of a computer keyboard|someone typing fast",
    "laughing": "the laughter of a man or a woman|somebody laughing out loud",
    "rooster": "the crow of a cock|a rooster calling at dawn",
    "sheep": "the baa of a sheep|a lamb calling",
    "siren": "the siren of an ambulance|a police car with its siren on",
    "sneezing": "a sneeze|somebody sneezing loudly",
    "snoring": "the snores of a sleeper|loud snoring at night",
    "thunderstorm": "a clap of thunder|thunder rolling in the distance",
    "toilet_flush": "the flush of a toilet|water rushing in a toilet",
    "train": "the rattle of a train|a train on its rails",
    "vacuum_cleaner": "the drone of a vacuum cleaner|somebody hoovering",
}
GENERAL = {
    "animal noises": "cat cow crow dog frog rooster sheep",
    "noises of people": "clapping coughing crying_baby footsteps laughing sneezing snoring",
    "machine noise": "chainsaw engine hand_saw helicopter train vacuum_cleaner",
    "an alarm": "car_horn church_bells clock_alarm siren",
    "household noises": "door_wood_knock glass_breaking keyboard_typing toilet_flush",
    "loud bangs": "fireworks thunderstorm",
}
LONG = "{} somewhere near the old house while it is slowly getting dark outside on a cold evening"
UNLIKE = 0.5
"""Cosine below which another event's sentence may be a negative."""


def configurations(bench: Bench) -> Iterator[tuple[str, Config]]:
    """Name and make each way of wording."""
    plain = {name: event.prompts[0] for name, event in bench.config.events.items()}

    def with_prompts(prompts: dict[str, list[str]], negatives: dict[str, list[str]] | None = None) -> Config:
        events = {
            name: EventConfig(prompts=tuple(each), negatives=tuple((negatives or {}).get(name, ())))
            for name, each in prompts.items()
        }
        return bench.config.model_copy(update={"events": events})

    words = {name: name.replace("_", " ") for name in plain}
    general = {name: text for text, names in GENERAL.items() for name in names.split()}
    rows = bench.encoder.embed_text(list(plain.values()))
    alike = rows @ rows.T
    rivals = {
        name: [list(plain.values())[j] for j in np.argsort(-alike[i]) if j != i and alike[i, j] < UNLIKE][:3]
        for i, name in enumerate(plain)
    }
    yield "one plain sentence: *a dog barking*", with_prompts({n: [t] for n, t in plain.items()})
    yield "the word: *dog*", with_prompts({n: [t] for n, t in words.items()})
    yield "*the sound of a dog barking*", with_prompts({n: [f"the sound of {t}"] for n, t in plain.items()})
    yield "three wordings together", with_prompts({n: [t, *ALSO[n].split("|")] for n, t in plain.items()})
    yield "another wording alone", with_prompts({n: ALSO[n].split("|")[:1] for n in plain})
    yield "a long story around it", with_prompts({n: [LONG.format(t)] for n, t in plain.items()})
    yield "too general: *animal noises*", with_prompts({n: [general[n]] for n in plain})
    yield (
        "the sentence, the three nearest others as negatives",
        with_prompts({n: [t] for n, t in plain.items()}, rivals),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    bench = Bench(args.shared, args.cache)
    print(f"{bench.encoder.identity}\n\n| prompt | mean average precision |\n|---|---|")
    for name, config in configurations(bench):
        lines = bench.timelines(shipped(bench, config), EmaSmoothing(), (2.0,), lambda raw: raw)
        print(f"| {name} | {bench.mean_precision(lines, CHOOSING, 2.0):.3f} |", flush=True)


if __name__ == "__main__":
    main()
