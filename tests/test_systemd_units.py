"""The units that are shipped, judged by systemd's own tools."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parent.parent / "systemd"
WORST_EXPOSURE = 1.7
WORST_EXPOSURE_WITH_GPU = 1.8

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze isn't installed"),
]


@pytest.fixture
def installed(tmp_path: Path):
    """Copy a unit to a folder, its program replaced by one that exists here."""

    def install(name: str, *drop_ins: str) -> Path:
        text, replaced = re.subn(
            r"^ExecStart=\S+", "ExecStart=/bin/true", (UNITS / name).read_text(), flags=re.MULTILINE
        )
        assert replaced == 1
        unit = tmp_path / Path(name).name
        unit.write_text(text)
        for drop_in in drop_ins:
            folder = tmp_path / f"{unit.name}.d"
            folder.mkdir(exist_ok=True)
            shutil.copy(UNITS / drop_in, folder)
        return unit

    return install


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )


def verify(unit: Path, *arguments: str) -> None:
    result = analyze(*arguments, "--man=no", "verify", unit)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def exposure(unit: Path) -> float:
    result = analyze("security", "--offline=true", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    return float(found[1])


def test_the_service_has_nothing_that_systemd_warns_of(installed):
    verify(installed("sound-monitor.service"))


def test_the_service_with_a_gpu_has_nothing_that_systemd_warns_of(installed):
    verify(installed("sound-monitor.service", "gpu.conf"))


def test_the_user_service_has_nothing_that_systemd_warns_of(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    verify(installed("user/sound-monitor.service"), "--user")


def test_a_mistake_in_the_service_would_be_found(installed):
    unit = installed("sound-monitor.service")
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=often\nWatchDog=yes"))
    with pytest.raises(AssertionError, match=r"Failed to parse sec value(.|\n)*Unknown key"):
        verify(unit)


def test_the_service_is_exposed_little(installed):
    assert exposure(installed("sound-monitor.service")) <= WORST_EXPOSURE
    assert exposure(installed("sound-monitor.service", "gpu.conf")) <= WORST_EXPOSURE_WITH_GPU


def test_both_services_agree_with_the_daemon():
    for name in ("sound-monitor.service", "user/sound-monitor.service"):
        lines = (UNITS / name).read_text().splitlines()
        assert {
            "Type=notify",
            "NotifyAccess=main",
            "WatchdogSec=30",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "RestartPreventExitStatus=2",
            "StateDirectory=sound-monitor",
        } <= set(lines)
