"""`sound-monitor learn`: recordings of a sound become an event's examples; tells what they are worth."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from monitor.config import Config, EventConfig
from monitor.config_file import load_config
from monitor.encoders import load_encoder
from monitor.errors import ConfigError, SinkError, in_words
from monitor.examples import cut, embed, embed_unrelated, read
from monitor.fields import Slug
from monitor.files import each_once
from monitor.heads import Head, prompts_of
from monitor.prototypes import AudioPrototype, left_out, normalise
from monitor.types import Encoder, FloatArray
from monitor.yaml_edit import with_examples

_ALIKE = 0.5
_SAME = 0.9999
_OUTLIER = 0.25
"""An example this much less like the others than they are among themselves is named."""
_ROOM_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    name: str
    clips: Sequence[Path]
    config: Path
    prompts: Sequence[str] = ()
    copy_to: Path | None = None
    room: Path | None = None
    dry_run: bool = False


def learn(options: Options) -> Iterator[str]:
    """Yield the lines to tell the user; the configuration is written at the end.

    Raises ConfigError where the configuration would become wrong, SourceError for a clip that can't be used.
    """
    path = options.config.absolute()
    before = load_config(path)
    _require_plain(options.name)
    event = before.events.get(options.name)
    if event is not None and options.prompts:
        raise ConfigError(
            f"--prompts: {options.name} is there already; change its prompts in {options.config}"
        )
    clips = _new_clips(options, event)
    kept = [options.copy_to.absolute() / clip.name for clip in clips] if options.copy_to else clips
    text = _read_text(path)
    changed = with_examples(
        text, options.name, [_written(clip, path.parent) for clip in kept], options.prompts
    )
    refused = f"{options.config}: can't be extended without harm; add this yourself: " + _by_hand(
        options, kept
    )
    if changed is None:
        raise ConfigError(refused)
    after = _checked(path, changed, options.name, kept, refused)
    encoder = load_encoder(before.encoder)
    yield from _Report(encoder, after, options).lines(clips)
    if options.dry_run:
        yield "nothing was written"
        return
    if options.copy_to:
        _copy(clips, options.copy_to)
    backup = _replace(path, changed)
    total = len(after.events[options.name].examples)
    count = f"{total} example{'' if total == 1 else 's'}"
    yield f"{options.config}: {options.name} has {count} now; the file as it was: {backup}"


def _require_plain(name: str) -> None:
    try:
        TypeAdapter(Slug).validate_python(name)
    except ValidationError as error:
        raise ConfigError(f"NAME: {name!r} {error.errors()[0]['msg']}") from None


def _new_clips(options: Options, event: EventConfig | None) -> list[Path]:
    clips = each_once(clip.absolute() for clip in options.clips)
    known = {example.resolve() for example in event.examples} if event else set()
    named: dict[str, Path] = {}
    for clip in clips:
        other = named.setdefault(clip.name, clip)
        if options.copy_to and other != clip:
            raise ConfigError(
                f"--copy-to: {str(other)!r} and {str(clip)!r} would be one file there; rename one of them"
            )
        if clip.resolve() in known:
            raise ConfigError(f"--from: {str(clip)!r} is an example of {options.name} already; leave it out")
        if options.copy_to and (options.copy_to / clip.name).exists():
            raise ConfigError(
                f"--copy-to: {str(options.copy_to / clip.name)!r} is there already; rename the clip"
            )
    return clips


def _written(clip: Path, folder: Path) -> str:
    """Write the path as short as it can be from the configuration's folder."""
    text = (clip.relative_to(folder) if clip.is_relative_to(folder) else clip).as_posix()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--from: {text!r} isn't UTF-8, as the configuration must be; rename it") from None
    return text


def _by_hand(options: Options, clips: Sequence[Path]) -> str:
    listed = ", ".join(_written(clip, options.config.absolute().parent) for clip in clips)
    return f"events: {{{options.name}: {{examples: [{listed}]}}}}"


def _read_text(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def _checked(path: Path, text: str, name: str, clips: Sequence[Path], refused: str) -> Config:
    """Load the changed text, and see that exactly the wanted change has come of it."""
    before = load_config(path)
    trial = _beside(path, text)
    try:
        after = load_config(trial)
    except ConfigError as error:
        lines = [line.replace(str(trial), str(path)) for line in error.lines]
        raise ConfigError(*lines) from None
    finally:
        trial.unlink()
    was = before.events.get(name)
    wanted = (*(was.examples if was else ()), *clips)
    same = {key: event for key, event in after.events.items() if key != name} == {
        key: event for key, event in before.events.items() if key != name
    }
    rest = after.model_copy(update={"events": before.events}) == before
    own = was is None or after.events[name].model_copy(update={"examples": was.examples}) == was
    if not (same and rest and own and after.events[name].examples == wanted):
        raise ConfigError(refused)
    return after


def _beside(path: Path, text: str) -> Path:
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return Path(file.name)
    except OSError as error:
        raise SinkError(f"{str(path.parent)!r} can't be written to: {in_words(error)}") from None


def _replace(path: Path, text: str) -> Path:
    """Put the text in the file's place at once, the old one beside it; return the old one's path."""
    path = path.resolve()
    backups = (path.with_name(path.name + ".bak" + (f".{n}" if n else "")) for n in itertools.count())
    backup = next(each for each in backups if not each.exists())
    trial = _beside(path, text)
    try:
        shutil.copymode(path, trial)
        shutil.copy2(path, backup)
        trial.replace(path)
    except OSError as error:
        trial.unlink(missing_ok=True)
        raise SinkError(f"{str(path)!r} can't be replaced: {in_words(error)}") from None
    return backup


def _copy(clips: Sequence[Path], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for clip in clips:
            shutil.copy2(clip, folder / clip.name)
    except OSError as error:
        raise SinkError(f"--copy-to {str(folder)!r} can't be written: {in_words(error)}") from None


class _Report:
    """What an event's examples are worth, in sentences with numbers."""

    def __init__(self, encoder: Encoder, config: Config, options: Options) -> None:
        self._encoder = encoder
        self._config = config
        self._options = options
        self._unrelated = embed_unrelated(encoder, config.windows.window_seconds)
        texts = prompts_of(config)
        self._texts = dict(zip(texts, encoder.embed_text(texts), strict=True)) if texts else {}

    def lines(self, clips: Sequence[Path]) -> Iterator[str]:
        name, window_seconds = self._options.name, self._config.windows.window_seconds
        was = self._config.events[name].examples[: -len(clips)]
        paths, rows = [*was, *clips], []
        for path in paths:
            sound, seconds = read(path, self._encoder.rate_hz)
            rows.append(embed(self._encoder, sound, window_seconds))
            kept = len(sound) / self._encoder.rate_hz
            if path in clips:
                yield f"{path.name}: {kept:.1f} s of sound in {seconds:.1f} s"
        examples = np.stack(rows)
        if len(paths) > 1:
            yield from _consistency(paths, examples, self._unrelated)
        else:
            yield "one example only: two or three more, recorded at other times, make it steadier"
        head = self._head(examples)
        index = list(self._config.events).index(name)
        threshold = self._config.events[name].on_threshold
        own = self._own_scores(examples, index)
        yield (
            f"separation: its own examples score {own.min():.2f} or more"
            f"{', each judged by the others' if len(examples) > 1 else ''}; made-up noises and tones at most "
            f"{head.score(self._unrelated)[:, index].max():.2f} (threshold {threshold:g})"
        )
        if own.min() < threshold:
            yield (
                f"warning: poor separation: an example scores {own.min():.2f}, below the threshold "
                f"{threshold:g}; record more examples, closer and louder, or lower the threshold"
            )
        noisy = float((head.score(self._unrelated)[:, index] >= threshold).mean())
        if noisy > 0:
            yield f"warning: poor separation: {noisy:.0%} of the made-up noises reach the threshold"
        yield from self._others(head, examples, index)
        if self._options.room:
            yield from self._in_room(head, index, threshold)

    def _head(self, examples: FloatArray) -> Head:
        learned = {self._options.name: AudioPrototype.of(examples, self._unrelated)}
        config = self._config.model_copy(update={"scoring": "independent"})
        return Head.build(config, self._texts, self._encoder.logit_scale, learned, self._unrelated)

    def _own_scores(self, examples: FloatArray, index: int) -> FloatArray:
        """Score each example by a head that hasn't learned it, shape (N,)."""
        if len(examples) == 1:
            return self._head(examples).score(examples)[:, index]
        rows = range(len(examples))
        heads = [self._head(np.delete(examples, row, axis=0)) for row in rows]
        return np.array([heads[row].score(examples[row : row + 1])[0, index] for row in rows], np.float32)

    def _others(self, head: Head, examples: FloatArray, index: int) -> Iterator[str]:
        scores = head.score(examples).mean(axis=0)
        events = list(self._config.events.items())
        for other, (name, event) in enumerate(events):
            if other != index and event.prompts and scores[other] >= event.on_threshold:
                yield (
                    f"warning: {name} begins at these examples too (mean score {scores[other]:.2f}, "
                    f"threshold {event.on_threshold:g}); give it a negative that names this sound"
                )
        named = [(scores[i], name) for i, (name, event) in enumerate(events) if i != index and event.prompts]
        if named:
            score, name = max(named)
            yield f"of the other events, {name} is nearest: these examples score {score:.2f} in it"

    def _in_room(self, head: Head, index: int, threshold: float) -> Iterator[str]:
        room = self._options.room
        if room is None:
            return
        sound, _ = read(room, self._encoder.rate_hz, _ROOM_SECONDS)
        gate = self._config.windows.min_level_dbfs
        scores: list[float] = []
        batch = []
        for window in cut(sound, self._encoder.rate_hz, self._config.windows.window_seconds):
            if window.level_dbfs >= gate:
                batch.append(window)
            if len(batch) == self._config.encoder.max_batch:
                scores += head.score(self._encoder.embed_audio(batch))[:, index].tolist()
                batch = []
        if batch:
            scores += head.score(self._encoder.embed_audio(batch))[:, index].tolist()
        values = np.array(scores or [0.0])
        over = float((values >= threshold).mean())
        yield (
            f"room: {room.name} scores {values.max():.2f} at most, {np.median(values):.2f} in the middle of "
            f"{len(scores)} windows; {over:.1%} reach the threshold {threshold:g}"
        )
        if over > 0:
            yield f"warning: poor separation: {room.name} would set {self._options.name} off; run calibrate"


def _consistency(paths: Sequence[Path], examples: FloatArray, unrelated: FloatArray) -> Iterator[str]:
    centre = unrelated.mean(axis=0)
    centred = normalise(examples - centre)
    pairs = (centred @ centred.T)[np.triu_indices(len(paths), 1)]
    spread = f"{pairs.min():.2f} to {pairs.max():.2f}, mean {pairs.mean():.2f}"
    yield f"consistency: likeness between examples {spread} (1 is the same)"
    for one, other in zip(*np.nonzero(np.triu(centred @ centred.T, 1) > _SAME), strict=True):
        yield f"warning: {paths[one].name} and {paths[other].name} are the same recording; leave one out"
    likeness = left_out(examples, centre)
    worst = int(likeness.argmin())
    if len(paths) > 2 and np.delete(likeness, worst).mean() - likeness[worst] > _OUTLIER:
        unlike = f"{paths[worst].name} is unlike the others ({likeness[worst]:.2f})"
        yield f"warning: {unlike}; is it the same sound?"
    elif pairs.mean() < _ALIKE:
        yield "warning: the examples are not much alike; several kinds of sound are better as several events"
