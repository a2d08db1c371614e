"""Prompts in a language that no model knows."""

import pytest

from monitor.config import Config
from monitor.wording import looks_english, wording_slips

FOREIGN = """
ein bellender Hund | Türklingel | un chien qui aboie | el llanto del bebé | een blaffende hond
hund skäller | 犬が吠える | кот мяукает | صفارة | il cane | uma porta
"""
ENGLISH = """
a dog barking | a café's coffee grinder | the den of a lion | Beep, bleep | 3D printer | thud | CO2
an old man in a van on an LA street | lo-fi music, o' course | the washing machine has finished
"""


def phrases(text):
    return [phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|")]


@pytest.mark.parametrize("text", phrases(FOREIGN))
def test_other_languages_are_seen(text):
    assert not looks_english(text)


@pytest.mark.parametrize("text", phrases(ENGLISH))
def test_english_passes(text):
    assert looks_english(text)


def test_check_tells_of_each_prompt():
    events = {"hund": {"prompts": ["a dog barking", "ein bellender Hund"]}, "katze": "a cat meowing"}
    config = Config.model_validate({"sources": {"room": {}}, "events": events})
    says = "'ein bellender Hund' may not be English, the one language that the models know; say it in English"
    assert list(wording_slips(config)) == [f"events.hund.prompts: {says}"]
