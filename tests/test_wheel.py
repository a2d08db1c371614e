"""The wheel is whole: its encoder hears without the checkout and without a network."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from tones import write_scene


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's contents."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT],
        check=True,
        cwd=folder,
    )
    (wheel,) = folder.glob("sound_monitor-*.whl")
    assert wheel.stat().st_size < 16 * 2**20
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def without_network(*command):
    if os.geteuid() == 0 and shutil.which("unshare"):
        return ["unshare", "--net", *map(str, command)]
    return list(map(str, command))


def run(installed, folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        without_network(sys.executable, *arguments),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_classifies_with_the_network_off(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import monitor; print(monitor.__file__)")
    assert where.stdout.startswith(str(installed)), where.stderr
    write_scene(tmp_path / "tone.wav", (2000, 3), rate_hz=48_000)
    done = run(installed, tmp_path, "-m", "monitor", "classify", "tone.wav", "--labels", "beep", "speech")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "beep"


def test_the_wheel_holds_no_training_and_no_checkpoint(installed):
    assert not (installed / "training").exists()
    assert [path.name for path in installed.rglob("*.safetensors")] == ["compact.safetensors"]
    assert (installed / "monitor" / "web" / "page" / "index.html").exists()
