"""The `sound-monitor` command: what may be typed, and which module does it.

Modules are imported where they are used, so that `--help` and `check` need no torch.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from monitor import __version__, commands
from monitor.arguments import positive, takes_config, takes_json, takes_mapping, takes_overlays, words
from monitor.arguments_past import add_commands
from monitor.errors import ConfigError, MonitorError, in_words
from monitor.interrupt import INTERRUPTED

OK, FAILED, MISUSED = 0, 1, 2
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by who started us
            nowhere = Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            setattr(sys, stream, nowhere)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be no text in any encoding, and is told all the same.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.handler(arguments)
        sys.stdout.flush()
        sys.exit(status)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(MISUSED)
    except (MonitorError, OSError, ExceptionGroup) as error:
        status = _told(list(_leaves(error)))
        if status is None:
            raise
        sys.exit(status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _told(errors: Sequence[Exception]) -> int | None:
    """Tell what went wrong, a line each, and return the exit status; None where one of them is a bug."""
    if all(isinstance(error, BrokenPipeError) for error in errors):
        # Whoever read our output has had enough.
        _drop_output()
        return OK
    if not all(isinstance(error, MonitorError) or _is_full(error) for error in errors):
        return None
    for line in dict.fromkeys(map(_in_words, errors)):
        print(f"sound-monitor: {line}", file=sys.stderr)  # noqa: T201
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return FAILED


def _drop_output() -> None:
    # Python must not complain at exit about what it can't write.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _in_words(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    what = f" {str(error.filename)!r}" if error.filename else ""
    return f"can't write{what}: {in_words(error)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sound-monitor",
        description="Listens to microphones and reports the sounds that you described in your own words.",
        epilog="example: sound-monitor run config/home.yaml",
    )
    parser.add_argument("--version", action="version", version=f"sound-monitor {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        handler: Callable[[argparse.Namespace], int],
        summary: str,
        *examples: str,
        notes: str = "",
    ) -> argparse.ArgumentParser:
        made = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + "." + (notes and f"\n\n{notes}"),
            epilog="examples:\n" + "\n".join(f"  sound-monitor {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(handler=handler)
        return made

    run = command(
        "run", commands.run, "listen all day and report to MQTT and Prometheus", "run config/home.yaml"
    )
    takes_config(run)

    _takes_config_and_json(
        command(
            "check",
            commands.check,
            "check a configuration and tell its rules in seconds",
            "check config/home.yaml",
            "check config/home.yaml --json | jq -r '.warnings[]'",
        )
    )

    _takes_config_and_json(
        command(
            "doctor",
            commands.doctor,
            "try on this machine what a configuration asks of it, and tell what to mend",
            "doctor config/home.yaml",
            "doctor config/home.yaml --json",
            notes="Opens every source and listens for two seconds, loads and measures the model, connects\n"
            "to the broker, and looks at ports, files and the clock. Nothing is published or changed; a\n"
            "monitor may be running. Exit status 1 when something failed.",
        )
    )

    devices = command(
        "devices",
        commands.devices,
        "list the microphones and how to name them",
        "devices",
        "devices --json",
    )
    takes_json(devices)
    devices.add_argument(
        "--default", action="store_true", help="print the default input only, and fail if there is none"
    )

    replay = command(
        "replay",
        commands.replay,
        "run recordings through the whole path as fast as possible, events as JSON lines",
        "replay night.flac --config config/home.yaml",
        "replay *.wav --config config/home.yaml --scores scores.tsv > events.jsonl",
    )
    _takes_recordings(replay)

    classify = command(
        "classify",
        commands.classify,
        "tell which of some labels a recording sounds like most",
        'classify train.ogg --labels "Sound of train" "Sound of bus" "Sound of boat"',
        'classify train.ogg --labels train bus --template "the sound of {}" --json',
    )
    classify.add_argument("file", type=Path, metavar="FILE")
    classify.add_argument("--labels", nargs="+", required=True, type=words, metavar="LABEL")
    classify.add_argument(
        "--template",
        type=words,
        help='text around the label; default: "{}", for CLAP the pipeline\'s "This is a sound of {}."',
    )
    classify.add_argument(
        "--model", default="compact", help="compact (built in), a hub name, or a folder (default: compact)"
    )
    classify.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    takes_json(classify)

    evaluate = command(
        "eval",
        commands.evaluate,
        "tell how good a configuration is on labelled recordings",
        "eval labels.csv --config config/home.yaml",
        "eval labels.csv --config config/home.yaml --overlay thresholds.yaml --plot eval.png --json",
        "eval clips.csv --config config/home.yaml --map dog=dog_bark --confusion",
        notes="LABELS is CSV with the columns path,label,onset,offset: times in seconds, paths relative to\n"
        "it. Without onsets and offsets the labels are those of whole clips. A row without a\n"
        "label is a recording without any of the sounds; among clips it is left out.",
    )
    evaluate.add_argument("manifest", type=Path, metavar="LABELS")
    evaluate.add_argument("--config", required=True, type=Path, help="the events and how to decide on them")
    takes_overlays(evaluate)
    takes_mapping(evaluate)
    evaluate.add_argument("--confusion", action="store_true", help="clips: show what was taken for what")
    evaluate.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="draw precision-recall curves here, and each recording's scores over its spectrogram beside it; "
        "of clips, the confusion",
    )
    takes_json(evaluate)

    calibrate = command(
        "calibrate",
        commands.calibrate,
        "set thresholds for a wanted rate of false alarms",
        "calibrate config/home.yaml --recording room.flac --false-alarms-per-day 1 --out thresholds.yaml",
        "calibrate config/home.yaml --minutes 60 --positives labels.csv --out thresholds.yaml",
        "run config/home.yaml --overlay thresholds.yaml",
        notes="Give a recording of the room in which none of the events happens, the longer the better, or\n"
        "let it listen to the configured sources.",
    )
    takes_config(calibrate)
    room = calibrate.add_mutually_exclusive_group(required=True)
    room.add_argument("--recording", nargs="+", type=Path, metavar="SOUND", help="WAV, FLAC, OGG or MP3")
    room.add_argument("--minutes", type=positive, help="listen live for so long; Ctrl-C ends it earlier")
    calibrate.add_argument(
        "--false-alarms-per-day",
        type=positive,
        default=1.0,
        metavar="N",
        help="wanted from all events and sources together (default: 1)",
    )
    calibrate.add_argument(
        "--positives",
        type=Path,
        metavar="LABELS",
        help="recordings with the events, as for eval: adds recall",
    )
    takes_mapping(calibrate)
    calibrate.add_argument("--out", required=True, type=Path, metavar="YAML", help="the overlay to write")
    calibrate.add_argument("--force", action="store_true", help="replace the overlay if it is there")
    takes_json(calibrate)

    learn = command(
        "learn",
        commands.learn,
        "add recordings of a sound to an event, and tell what they are worth",
        "learn washer_done --from tune1.wav tune2.wav --config config/home.yaml",
        'learn cat --from cat.wav --prompts "a cat meowing" --config config/home.yaml --room night.flac',
        notes="Three recordings of a few seconds, made at different times with the microphone that will\n"
        "listen, do well. Comments and formatting of the configuration are kept; the\n"
        "file as it was lies beside it.",
    )
    _takes_clips(learn)

    _takes_speed(
        command(
            "bench",
            commands.bench,
            "measure how fast this machine scores, and how many sources it can carry",
            "bench",
            "bench --model laion/clap-htsat-unfused --repeats 15 --json",
            "bench --config config/home.yaml",
            notes="Compares transformers' pipeline with this program's CLAP and with the built-in encoder,\n"
            "in turns within one run. Without --model, a CLAP of full size with random weights is\n"
            "timed: speed doesn't depend on them.",
        )
    )

    _takes_config_and_json(
        command(
            "listen",
            commands.listen,
            "show live what is heard: levels and scores in the terminal",
            "listen config/home.yaml",
            "listen config/home.yaml --json | jq '.scores?.dog_bark?.score // empty'",
            notes="Where nothing can be drawn (a pipe, a file, TERM=dumb), it prints a line when a source\n"
            "comes or goes and when an event begins or ends; --json tells the scores too.",
        ),
        "print a JSON object for each window, event, and change of a source",
    )

    _takes_config_and_json(
        command(
            "tail",
            commands.tail,
            "print what the broker receives from the monitor",
            "tail config/home.yaml",
            "tail config/home.yaml --json | jq .payload",
        ),
        "print a JSON object per message",
    )
    add_commands(command)
    return parser


def _takes_recordings(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, OGG or MP3")
    replay.add_argument("--config", required=True, type=Path, help="the events and how to decide on them")
    takes_overlays(replay)
    replay.add_argument("--scores", type=Path, metavar="TSV", help="write every window's scores here")
    replay.add_argument(
        "--history", type=Path, metavar="DIR", help="keep the embeddings here, for search and backtest"
    )


def _takes_config_and_json(parser: argparse.ArgumentParser, what: str = "print JSON") -> None:
    takes_config(parser)
    takes_json(parser, what)


def _takes_clips(learn: argparse.ArgumentParser) -> None:
    learn.add_argument("name", metavar="NAME", help="the event, there already or new")
    learn.add_argument("--from", dest="clips", nargs="+", required=True, type=Path, metavar="CLIP")
    learn.add_argument("--config", required=True, type=Path, metavar="FILE", help="is extended")
    learn.add_argument(
        "--prompts", nargs="+", default=(), type=words, metavar="TEXT", help="of a new event, in words"
    )
    learn.add_argument(
        "--copy-to", type=Path, metavar="DIR", help="copy the recordings here and use the copies"
    )
    learn.add_argument(
        "--room", type=Path, metavar="SOUND", help="the room without the sound, to compare with"
    )
    learn.add_argument("--dry-run", action="store_true", help="tell, but change nothing")
    takes_json(learn)


def _takes_speed(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("--config", type=Path, metavar="FILE", help="tell how many of its sources fit here")
    bench.add_argument("--model", help="hub name or folder of a CLAP checkpoint")
    bench.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    bench.add_argument("--threads", type=int, choices=range(1, 257), default=1, metavar="1..256")
    bench.add_argument("--events", type=int, nargs="+", default=(5, 20, 100), metavar="N")
    bench.add_argument(
        "--sources", type=int, nargs="+", default=(1, 4, 16, 64), metavar="N", help="listened to together"
    )
    bench.add_argument("--window-seconds", type=positive, default=2.0)
    bench.add_argument("--hop-seconds", type=positive, default=0.5)
    bench.add_argument("--repeats", type=int, choices=range(1, 50), default=7, metavar="1..49")
    takes_json(bench)
