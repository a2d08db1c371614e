"""Imports go downward only, and the check that says so can fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LINT = Path(sys.executable).parent / "lint-imports"


def lint(directory):
    environment = os.environ | {"PYTHONPATH": str(directory)}
    return subprocess.run(
        [LINT, "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package(tmp_path):
    shutil.copytree(
        ROOT / "monitor", tmp_path / "monitor", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    return tmp_path


def test_imports_go_strictly_downward(package):
    done = lint(package)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "crossing"),
    [
        ("windows.py", "import monitor.pipeline"),
        ("sources/file.py", "from monitor.metrics import Metrics"),
        ("unplaced.py", "'''A new module has to be given its layer.'''"),
    ],
    ids=["upward", "sibling", "module without a layer"],
)
def test_a_crossed_layer_is_found(package, module, crossing):
    with (package / "monitor" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{crossing}\n")
    assert lint(package).returncode == 1
