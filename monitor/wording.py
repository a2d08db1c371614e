"""What can be told from the words of prompts alone, without a model: doubles and contradictions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from monitor.config import Config
from monitor.errors import ConfigError
from monitor.fields import has_words

_ALIKE = 0.75
_FILLERS = frozenset(
    {"a", "an", "and", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "some", "the", "to"}
    | {"somebody", "someone", "something", "that", "with", "audio", "noise", "recording", "sound", "sounds"}
)

# Common words of other European languages that English hasn't got.
_FOREIGN = frozenset(
    {"ein", "eine", "einen", "einer", "eines", "der", "das", "dem", "und", "ist", "wird", "auf", "vom", "zum"}
    | {"zur", "von", "une", "le", "les", "des", "du", "qui", "au", "aux", "dans", "una", "uno", "las", "del"}
    | {"che", "il", "gli", "di", "della", "dello", "nel", "alla", "uma", "dos", "een", "het", "wordt", "en"}
    | {"ett", "och", "som", "det", "nad", "ze", "sie"}
)
_FOREIGN_LETTER = re.compile(r"(?!caf)\b\w*[^\W\d_a-zA-Z]")


@dataclass(frozen=True, slots=True)
class _Text:
    """A prompt and what it is about: no case, no punctuation, no fillers, no endings."""

    text: str
    words: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Text:
        words = re.findall(r"\w+", text.casefold())
        telling = [word for word in words if word not in _FILLERS] or words
        return cls(text, frozenset(re.sub(r"(?<=\w{3})(ing|ed|es|s)$", "", word) for word in telling))

    def is_like(self, other: _Text) -> bool:
        return len(self.words & other.words) >= _ALIKE * len(self.words | other.words)


def wording_slips(config: Config) -> Iterator[str]:
    """Yield a warning for every prompt that no model knows, that is there twice or speaks against itself."""
    yield from _other_languages(config)
    for name, event in config.events.items():
        field = f"events.{name}.prompts"
        for text, count in Counter(prompt.casefold() for prompt in event.prompts).items():
            if count > 1:
                yield f"{field}: {text!r} is there {count} times; keep one"
        if config.scoring == "exclusive":
            for key in ("negatives", "examples"):
                if getattr(event, key):
                    yield f"events.{name}.{key}: have no effect with scoring: exclusive; remove them"
            continue
        for text, other in _pairs(event.prompts, event.negatives):
            yield f"{field}: {text!r} is among its own negatives ({other!r}); remove one of them"
        for text, other in _pairs(event.prompts, config.background):
            yield f"{field}: {text!r} is a background phrase too ({other!r}); list background without it"
    yield from _doubles(config)


def _other_languages(config: Config) -> Iterator[str]:
    for name, event in config.events.items():
        for text in event.prompts:
            if not looks_english(text):
                says = f"{text!r} may not be English, the one language that the models know"
                yield f"events.{name}.prompts: {says}; say it in English"


def _pairs(prompts: Sequence[str], others: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = [_Text.of(other) for other in others]
    for prompt in map(_Text.of, prompts):
        yield from ((prompt.text, other.text) for other in known if prompt.is_like(other))


def _doubles(config: Config) -> Iterator[str]:
    """Compare prompts of different events that are listened for on a common source."""
    heard = {event: {s for s in config.sources if config.listens(s, event)} for event in config.events}
    texts: list[tuple[str, _Text]] = []
    with_word: dict[str, list[int]] = defaultdict(list)
    told: set[tuple[str, str]] = set()
    for name, event in config.events.items():
        for prompt in map(_Text.of, event.prompts):
            for index in sorted({index for word in prompt.words for index in with_word[word]}):
                earlier, other = texts[index]
                pair = (earlier, name)
                if earlier == name or pair in told or not prompt.is_like(other):
                    continue
                if heard[earlier] & heard[name]:
                    told.add(pair)
                    yield (
                        f"events.{earlier} and events.{name}: nearly the same prompt ({other.text!r} and "
                        f"{prompt.text!r}), so both will begin together; word them apart, or keep one"
                    )
            for word in prompt.words:
                with_word[word].append(len(texts))
            texts.append((name, prompt))


def require_words(texts: Iterable[str], what: str) -> None:
    """Raise ConfigError for a text without any."""
    for text in texts:
        if not has_words(text):
            raise ConfigError(f"{what}: {text!r} says nothing; describe the sound in words")


def looks_english(text: str) -> bool:
    """Tell whether no word speaks against it; many words of other languages don't either."""
    return not _FOREIGN_LETTER.search(text) and _FOREIGN.isdisjoint(re.findall(r"\w+", text.casefold()))
