"""The kernels of CLAP's audio tower compile for GPUs that aren't here, and fit onto them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SHARED_BYTES = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Shared memory that a block may have, of CUDA's tables, by compute capability."""


@pytest.mark.parametrize(
    "capability",
    [86, 90, *(pytest.param(each, marks=pytest.mark.large) for each in SHARED_BYTES if each not in {86, 90})],
)
def test_kernels_compile_fit_and_keep_their_numbers_in_registers(capability: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run(
        [sys.executable, str(script), str(capability)],
        env=environment | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["kernel"], each["dtype"]) for each in kernels} == {
        (name, dtype) for name in ("multiply", "attend", "normalise") for dtype in ("fp32", "bf16")
    }
    assert [each for each in kernels if each["stack"] > 0] == []
    assert max(each["shared"] for each in kernels) <= SHARED_BYTES[capability]
