"""Whether the model, the disk and the clock of this machine will do."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import monitor
from monitor.benchmark.capacity import capacity
from monitor.config import Config
from monitor.directories import history_directory, state_directory
from monitor.doctor.finding import Finding, failed, warned, worked
from monitor.errors import ConfigError, EncoderError, SourceError
from monitor.examples import read

_RATE_HZ = 48_000
_SHARE = 0.8
"""Of what the machine can carry; beyond, windows are dropped when it has something else to do too."""
_FEW_BYTES = 100_000_000
_LITTLE_BYTES = 1_000_000_000
_TIME_ERROR = 5
"""The state of adjtimex(2) in which nobody keeps the clock right."""
_STEP_SECONDS = 0.5


def look_at_examples(config: Config) -> Iterator[Finding]:
    """Read every example recording."""
    count = 0
    for name, event in config.events.items():
        for index, path in enumerate(event.examples):
            try:
                read(path, _RATE_HZ)
            except SourceError as error:
                yield failed(f"events.{name}.examples[{index}]", str(error))
            else:
                count += 1
    if count:
        yield worked("examples", f"{count} can be read")


def look_at_model(config: Config) -> Iterator[Finding]:
    """Load the model and measure how many sources it keeps up with here."""
    about = f"model {config.encoder.model}"
    began = time.monotonic()
    try:
        carried = capacity(config, repeats=3)
    except (EncoderError, ConfigError) as error:
        yield failed(about, str(error))
        return
    wanted = len(config.sources)
    says = (
        f"loads, and keeps up with {carried:.1f} sources at a hop of {config.windows.hop_seconds:g} s "
        f"(configured: {wanted}; tried in {time.monotonic() - began:.0f} s)"
    )
    remedy = "; lengthen windows.hop_seconds, take the model compact, or give encoder.threads"
    if carried < wanted:
        yield failed(about, f"{says}: windows will be dropped{remedy}")
    elif _SHARE * carried < wanted:
        yield warned(about, f"{says}: hardly any reserve{remedy}")
    else:
        yield worked(about, says)


def look_at_disk(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """See that what must be kept can be written, and that there is room for it."""
    folders = {"state_directory": state_directory(config, environ)}
    if config.history is not None:
        folders["history.directory"] = history_directory(config, environ)
    if config.clips is not None:
        folders["clips.directory"] = config.clips.directory
    for about, folder in folders.items():
        yield _judged(about, folder)


def _judged(about: str, folder: Path) -> Finding:
    there = next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), folder)
    try:
        # The monitor makes the folder itself at its start; what is above it must let it.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"sound-monitor\n")
        free = shutil.disk_usage(there).free
    except OSError as error:
        return failed(about, f"{folder} can't be written ({error.strerror}); mend it, or name another")
    says = f"{folder} can be written, {free / 1e9:.1f} GB free"
    if free < _FEW_BYTES:
        return failed(about, f"{says}: too little; make room, or name another")
    if free < _LITTLE_BYTES:
        return warned(about, f"{says}: little; make room, or name another")
    return worked(about, says)


class Clock:
    """Watches the wall clock against the steady one from its making on."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def findings(self) -> Iterator[Finding]:
        """Tell whether the clock is kept right, isn't far off, and hasn't jumped since."""
        moved = time.time() - time.monotonic() - self._offset
        installed = Path(monitor.__file__).stat().st_mtime
        if time.time() < installed - 86_400.0:
            shown = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time()))
            says = f"says {shown}, before this program was installed; set it, or turn NTP on (timedatectl)"
            yield failed("clock", says)
        elif abs(moved) > _STEP_SECONDS:
            says = f"jumped by {moved:+.1f} s just now; see who sets it (timedatectl, the hypervisor)"
            yield warned("clock", says)
        elif _synchronised():
            yield worked("clock", "is kept right by NTP")
        else:
            says = "nobody keeps it right; turn NTP on (sudo timedatectl set-ntp true), or install chrony"
            yield warned("clock", says)


def _synchronised() -> bool:
    """Ask the kernel whether somebody keeps its clock right; see adjtimex(2)."""
    struct_timex = ctypes.create_string_buffer(512)  # larger than any version's; modes = 0 only reads
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(struct_timex)
    return 0 <= state < _TIME_ERROR
