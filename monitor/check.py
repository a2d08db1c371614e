"""`sound-monitor check`: what a valid configuration will do, in seconds, and what looks like a slip."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from monitor.check_sources import is_loopback, missing, no_recording, source_in_words, source_slips
from monitor.config import (
    CommandConfig,
    Config,
    EncoderConfig,
    FileSource,
    HttpConfig,
    MedianSmoothing,
    MqttConfig,
)
from monitor.encoders import model_folder
from monitor.errors import SourceError
from monitor.rules import (
    DELAY_ASSUMES,
    MOST_BEHIND_SECONDS,
    Timing,
    event_in_words,
    whole_hops,
    windows_in_words,
)
from monitor.smoothing import median_length
from monitor.wording import wording_slips

_INLINE_PASSWORD = re.compile(r"""^[^#\n]*\bpassword["']?\s*:\s*["']?(?!\$\{)[^\s"'#]""", re.MULTILINE)


def report(config: Config, path: Path) -> tuple[list[str], list[str]]:
    """Return the lines that tell the rules in force, and the warnings, each naming its field and remedy."""
    return [f"{path}: valid", "", *_rules(config)], [*_warnings(config, path)]


def facts(config: Config, path: Path) -> dict[str, object]:
    """Return for a script what `report` tells of sources and events, and the warnings."""
    return {
        "valid": True,
        "warnings": [*_warnings(config, path)],
        "windows": windows_in_words(config),
        "sources": {
            name: {
                "meaning": source_in_words(source),
                "events": [event for event in config.events if config.listens(name, event)],
            }
            for name, source in config.sources.items()
        },
        "events": {
            name: {
                "sources": [source for source in config.sources if config.listens(source, name)],
                "on_threshold": event.on_threshold,
                "off_threshold": event.off,
                "told_within_seconds": Timing.of(config, name).delay_seconds,
                "meaning": event_in_words(config, name),
            }
            for name, event in config.events.items()
        },
    }


def _rules(config: Config) -> Iterator[str]:
    encoder, mqtt, http = config.encoder, config.mqtt, config.http
    threads = f"{encoder.threads} thread{'' if encoder.threads == 1 else 's'}"
    yield f"windows    {windows_in_words(config)}"
    yield f"encoder    {encoder.model}, {encoder.dtype}, device {encoder.device}, {threads}"
    yield (
        f"scoring    {config.scoring}, against {len(config.background)} background phrases"
        if (config.scoring == "independent")
        else "scoring    exclusive: the prompts of all events share one probability"
    )
    if mqtt is None:
        yield "mqtt       off"
    else:
        security = "TLS" if mqtt.tls else "no TLS"
        broker = f"{mqtt.broker}:{mqtt.port_in_force}"
        yield f"mqtt       {broker}, {security}, MQTT {mqtt.version}, topics {mqtt.prefix}/#"
    yield f"http       http://{_in_url(http.host)}:{http.port}/" if http.enabled else "http       off"
    yield ""
    for name, source in config.sources.items():
        heard = [event for event in config.events if config.listens(name, event)]
        listening = "every event" if len(heard) == len(config.events) else ", ".join(heard) or "no event"
        yield f"source {name}: {source_in_words(source)}; listens for {listening}"
    yield ""
    for event in config.events:
        yield f"event {event}, on {_sources_of(config, event)}{_examples_of(config, event)}"
        yield from (f"    {line}" for line in event_in_words(config, event))
    yield ""
    yield DELAY_ASSUMES


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sources_of(config: Config, event: str) -> str:
    return ", ".join(source for source in config.sources if config.listens(source, event))


def _examples_of(config: Config, event: str) -> str:
    count = len(config.events[event].examples)
    beside = "prompts and " if config.events[event].prompts else ""
    return f", by {beside}{count} example{'' if count == 1 else 's'}" if count else ""


def _warnings(config: Config, path: Path) -> Iterator[str]:
    yield from source_slips(config)
    yield from _about_loops(config)
    for event in config.events:
        for index, example in enumerate(config.events[event].examples):
            yield from no_recording(f"events.{event}.examples[{index}]", example)
        yield from _about_times(config, event)
        yield from _about_thresholds(config, event)
    yield from wording_slips(config)
    yield from _about_encoder(config.encoder)
    if config.mqtt is not None:
        yield from _about_mqtt(config.mqtt, path)
    if config.privacy.veto and not any(config.judges(source) for source in config.sources):
        yield "privacy.veto: has no effect where no clips are kept; add clips, or remove it"
    yield from _about_http(config.http)
    for name, webhook in config.webhooks.items():
        if webhook.token_file is not None:
            yield from missing(f"webhooks.{name}.token_file", webhook.token_file)
    for name, command in config.commands.items():
        if problem := no_program(command):
            yield f"commands.{name}.run: {problem}"


def no_program(command: CommandConfig) -> str | None:
    """Return why its program can't be run; None where it can."""
    program = command.run[0]
    if shutil.which(program):
        return None
    if "/" in program and Path(program).is_dir():
        return f"{program} is a folder; name the program in it"
    return f"{program} is not there, or not for this user to run; install it, or mend the path"


def _about_encoder(config: EncoderConfig) -> Iterator[str]:
    folder = None if config.model == "compact" else model_folder(config.model)
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - false for names too long as well
        yield (
            f"encoder.model: there is no folder {folder.absolute()}; name one, a model of the Hugging Face "
            "hub (owner/name), or compact"
        )


def _about_loops(config: Config) -> Iterator[str]:
    window_seconds = config.windows.window_seconds
    for name, source in config.sources.items():
        if isinstance(source, FileSource) and source.loop:
            seconds = _length(source.path)
            if seconds < window_seconds:
                yield (
                    f"sources.{name}.path: {source.path} lasts {seconds:.3g} s and fills no window of "
                    f"{window_seconds:g} s, so nothing is scored; loop a longer one"
                )


def _length(path: Path) -> float:
    """Return a recording's seconds; infinity where it can't be read, which is told elsewhere."""
    from monitor.sources.file import duration_seconds  # noqa: PLC0415 - few configurations need it

    try:
        return duration_seconds(path)
    except SourceError:
        return math.inf


def _about_times(config: Config, event: str) -> Iterator[str]:
    rules, hop_seconds = config.events[event], config.windows.hop_seconds
    held = "level.for_seconds" if rules.level else "min_on_seconds"
    for key, seconds in (
        (held, rules.min_on_seconds),
        ("min_off_seconds", rules.min_off_seconds),
    ):
        if 0.0 < seconds < hop_seconds:
            yield f"events.{event}.{key}: {seconds:g} is less than a hop and counts as {hop_seconds:g}"
    delay = Timing.of(config, event).delay_seconds or 0.0
    if config.clips is not None and rules.clip and delay > MOST_BEHIND_SECONDS:
        yield (
            f"events.{event}: is told up to {delay:g} s after its beginning, and clips reach back "
            f"{MOST_BEHIND_SECONDS:g} s from then: they lack it; shorten {held}, or set clip: false"
        )
    longest = rules.max_duration_seconds
    if longest is not None and longest <= max(rules.min_on_seconds, hop_seconds):
        yield (
            f"events.{event}.max_duration_seconds: {longest:g} ends the event as soon as it begins; "
            f"make it longer than min_on_seconds ({rules.min_on_seconds:g}) and a hop ({hop_seconds:g})"
        )
    # A cooldown counts from the end, which lies min_off_seconds before the decision that it has ended.
    passed = (whole_hops(rules.min_off_seconds, hop_seconds) + 1) * hop_seconds
    if 0.0 < rules.cooldown_seconds <= passed and longest is None:
        yield (
            f"events.{event}.cooldown_seconds: {rules.cooldown_seconds:g} has no effect, since "
            f"min_off_seconds and a hop pass anyway ({passed:g} in all); raise or remove it"
        )


def _about_thresholds(config: Config, event: str) -> Iterator[str]:
    rules, smoothing = config.events[event], config.smoothing_of(event)
    if rules.level is not None:
        if rules.level.above_dbfs > -3.0:
            above = f"events.{event}.level.above_dbfs: {rules.level.above_dbfs:g}"
            yield f"{above} is hardly ever reached; lower it"
    else:
        yield from _about_scores(config, event)
    if (
        isinstance(smoothing, MedianSmoothing)
        and median_length(smoothing.seconds, config.windows.hop_seconds) == 1
    ):
        yield f"events.{event}: a median over {smoothing.seconds:g} s is of one window only; lengthen it"


def _about_scores(config: Config, event: str) -> Iterator[str]:
    rules = config.events[event]
    name = f"events.{event}.on_threshold: {rules.on_threshold:g}"
    if Timing.of(config, event).rise_windows is None:
        yield f"{name} is never reached by an average; lower it"
    elif rules.on_threshold > 0.98:
        yield f"{name} is hardly ever reached; lower it"
    elif rules.on_threshold == 0.0:
        yield f"{name} is reached by silence; raise it"
    if rules.off == 0.0 and rules.max_duration_seconds is None:
        yield f"events.{event}.off_threshold: 0 is never undercut, so the event never ends; raise it"
    gate = config.windows.min_level_dbfs if rules.min_level_dbfs is None else rules.min_level_dbfs
    if gate > -20.0:
        yield f"events.{event}: min_level_dbfs {gate:g} mutes nearly every sound; lower it, to -60 say"


def _about_mqtt(mqtt: MqttConfig, path: Path) -> Iterator[str]:
    if mqtt.broker == "embedded":
        yield (
            "mqtt.broker: embedded is reached from this machine only; name your broker's host for Home "
            "Assistant elsewhere"
        )
    if mqtt.password is not None and mqtt.password_file is not None:
        yield "mqtt.password: has no effect beside password_file; remove it"
    elif mqtt.password is not None and _INLINE_PASSWORD.search(path.read_text(errors="replace")):
        yield "mqtt.password: stands in the configuration; keep it in a password_file that only you can read"
    secret = mqtt.password is not None or mqtt.password_file is not None
    if secret and mqtt.tls is None and not (mqtt.broker == "embedded" or is_loopback(mqtt.broker)):
        yield f"mqtt.tls: is off, so the password travels readably to {mqtt.broker}; add  tls: {{}}"
    files = {"mqtt.password_file": mqtt.password_file}
    if mqtt.tls:
        for key in ("ca_file", "cert_file", "key_file"):
            files[f"mqtt.tls.{key}"] = getattr(mqtt.tls, key)
    for field, file in files.items():
        if file is not None:
            yield from missing(field, file)


def _about_http(http: HttpConfig) -> Iterator[str]:
    if http.enabled and http.token_file is None and not is_loopback(http.host):
        yield (
            f"http.host: {http.host} shows the page and the metrics to the network, without a token; "
            "set http.token_file, or use 127.0.0.1 and a proxy, unless you trust the network"
        )
    if http.token_file is not None:
        yield from missing("http.token_file", http.token_file)
