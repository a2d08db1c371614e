"""`sound-monitor doctor`: tries on this machine what a configuration asks of it, and tells what to mend."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from monitor.check import report
from monitor.config_file import load_config
from monitor.doctor.doors import look_at_broker, look_at_http, look_at_secrets
from monitor.doctor.finding import Finding, Verdict, worked
from monitor.doctor.hearing import look_at_sound_cards, look_at_sources
from monitor.doctor.hooks import look_at_hooks
from monitor.doctor.machine import Clock, look_at_disk, look_at_examples, look_at_model
from monitor.errors import ConfigError

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red"}


async def examine(
    path: Path, overlays: Sequence[Path] = (), environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Finding]:
    """Yield what was tried and how it went, one finding after the other."""
    clock = Clock()
    try:
        config = load_config(path, environ, overlays)
    except ConfigError as error:
        for line in error.lines:
            yield Finding("configuration", Verdict.FAILED, line)
        return
    warnings = report(config, path)[1]
    yield worked("configuration", f"{path} is valid")
    for warning in warnings:
        yield Finding("configuration", Verdict.WARNING, warning)
    for finding in look_at_sound_cards(config):
        yield finding
    async for finding in look_at_sources(config, environ):
        yield finding
    for finding in await asyncio.to_thread(lambda: [*look_at_examples(config), *look_at_model(config)]):
        yield finding
    async for finding in look_at_broker(config, environ):
        yield finding
    async for finding in look_at_hooks(config):
        yield finding
    for finding in await asyncio.to_thread(
        lambda: [
            *look_at_http(config, environ),
            *look_at_secrets(config, path, environ),
            *look_at_disk(config, environ),
            *clock.findings(),
        ]
    ):
        yield finding


async def examine_and_tell(path: Path, overlays: Sequence[Path], *, as_json: bool) -> bool:
    """Print every finding as it comes, or JSON at the end; return whether nothing failed."""
    findings = []
    errors = Console(stderr=True)
    with errors.status("looking"):
        async for finding in examine(path, overlays):
            findings.append(finding)
            if not as_json:
                mark = Text(f"{finding.verdict.value:<8}", _COLOURS[finding.verdict])
                Console(soft_wrap=True).print(mark.append(finding.line, "default"))
    if as_json:
        print(json.dumps([finding.to_json() for finding in findings], indent=2))  # noqa: T201
    return all(finding.verdict is not Verdict.FAILED for finding in findings)
