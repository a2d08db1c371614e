"""What each command does; heavy modules are imported where they are used, for the others' sake."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from rich.console import Console

from monitor import interrupt
from monitor.errors import ConfigError

OK, FAILED, MISUSED = 0, 1, 2


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def run(arguments: argparse.Namespace) -> int:
    """Listen and report."""
    from monitor.daemon import run_daemon  # noqa: PLC0415

    return run_daemon(arguments.config, arguments.overlay)


def check(arguments: argparse.Namespace) -> int:
    """Check a configuration."""
    from monitor.check import facts, report  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    try:
        config = load_config(arguments.config, overlays=arguments.overlay)
    except ConfigError as error:
        if not arguments.json:
            raise
        _say(json.dumps({"valid": False, "errors": error.lines}))
        return MISUSED
    if arguments.json:
        _say(json.dumps(facts(config, arguments.config)))
        return OK
    lines, warnings = report(config, arguments.config)
    for line in lines:
        _say(line)
    for warning in warnings:
        _say(f"warning: {warning}")
    return OK


def doctor(arguments: argparse.Namespace) -> int:
    """Try what a configuration asks of this machine."""
    from monitor.doctor import examine_and_tell  # noqa: PLC0415

    well = interrupt.run(examine_and_tell(arguments.config, arguments.overlay, as_json=arguments.json))
    return OK if well else FAILED


def devices(arguments: argparse.Namespace) -> int:
    """List inputs."""
    from monitor.inputs import default_input, print_inputs  # noqa: PLC0415

    if arguments.default:
        _say(default_input())
    else:
        print_inputs(as_json=arguments.json)
    return OK


def replay(arguments: argparse.Namespace) -> int:
    """Run recordings through the path."""
    from monitor.config_file import load_config  # noqa: PLC0415
    from monitor.replay import print_replay  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    interrupt.run(print_replay(config, arguments.files, arguments.scores, arguments.history))
    return OK


def classify(arguments: argparse.Namespace) -> int:
    """Rank labels."""
    from monitor import classify as ranking  # noqa: PLC0415
    from monitor.config import EncoderConfig  # noqa: PLC0415
    from monitor.encoders import load_encoder  # noqa: PLC0415

    encoder = load_encoder(EncoderConfig(model=arguments.model, device=arguments.device))
    template = arguments.template or ranking.default_template(arguments.model)
    ranked = ranking.classify(arguments.file, arguments.labels, encoder, template=template)
    if arguments.json:
        _say(json.dumps([{"label": label, "score": score} for label, score in ranked]))
    else:
        width = max(len(label) for label, _ in ranked)
        for label, score in ranked:
            _say(f"{label:<{width}}  {score:.4f}")
    return OK


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge a configuration."""
    from monitor import evaluate as judging  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    options = judging.Options(
        arguments.manifest, arguments.map, arguments.json, arguments.confusion, arguments.plot
    )
    interrupt.run(judging.evaluate(config, options))
    return OK


def calibrate(arguments: argparse.Namespace) -> int:
    """Set thresholds."""
    from monitor import calibrate as calibrating  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    options = calibrating.Options(
        out=arguments.out,
        false_alarms_per_day=arguments.false_alarms_per_day,
        recordings=arguments.recording or (),
        minutes=arguments.minutes,
        positives=arguments.positives,
        mapping=arguments.map,
        force=arguments.force,
        as_json=arguments.json,
    )
    interrupt.run(calibrating.calibrate(config, options))
    return OK


def learn(arguments: argparse.Namespace) -> int:
    """Take in examples."""
    from monitor import learn as learning  # noqa: PLC0415

    given = {key: getattr(arguments, key) for key in learning.Options.__dataclass_fields__}
    interrupt.end_in_order()
    told = learning.learn(learning.Options(**given))
    if arguments.json:
        lines = list(told)
        warnings = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        says = [line for line in lines if not line.startswith("warning: ")]
        _say(json.dumps({"event": arguments.name, "says": says, "warnings": warnings}))
    else:
        for line in told:
            _say(line)
    return OK


def listen(arguments: argparse.Namespace) -> int:
    """Show live scores."""
    from monitor import listen as listening  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    interrupt.run(listening.listen(config, as_json=arguments.json))
    return OK


def tail(arguments: argparse.Namespace) -> int:
    """Print what the broker receives."""
    from monitor import tail as tailing  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    config = load_config(arguments.config, overlays=arguments.overlay)
    interrupt.run(tailing.tail(config, as_json=arguments.json))
    return OK


def bench(arguments: argparse.Namespace) -> int:
    """Measure speed."""
    interrupt.end_in_order()
    with Console(stderr=True).status("starting") as status:
        if arguments.config:
            text = _carried(arguments, status.update)
        else:
            from monitor.benchmark import measure, report  # noqa: PLC0415

            options = measure.Options(
                model=arguments.model,
                device=arguments.device,
                threads=arguments.threads,
                events=tuple(arguments.events),
                sources=tuple(arguments.sources),
                window_seconds=arguments.window_seconds,
                hop_seconds=arguments.hop_seconds,
                repeats=arguments.repeats,
            )
            measured = measure.bench(options, status.update)
            text = report.as_json(measured) if arguments.json else report.text(measured)
    _say(text)
    return OK


def _carried(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    from monitor.benchmark.capacity import capacity  # noqa: PLC0415
    from monitor.config_file import load_config  # noqa: PLC0415

    config = load_config(arguments.config)
    carried = int(capacity(config, tell))
    fact = {"sources": carried, "configured": len(config.sources)}
    return json.dumps(fact) if arguments.json else f"this machine carries {carried} such sources"
