"""Compile the GPU's kernels of a full-size audio tower for a GPU that needn't be here.

    python tests/compile_kernels.py CAPABILITY

Prints a line of JSON for each: name, dtype, shared memory and stack (spilled registers) in bytes, registers.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from transformers import ClapAudioModelWithProjection, ClapConfig
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from monitor.encoders import clap_kernels, clap_triton
from monitor.encoders.clap_audio import build_tower

BATCH = 128
ELEMENTS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.int32: "i32", torch.int64: "i64"}
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Recorded:
    """A kernel that isn't launched: what would be compiled for a launch is kept, as Triton specialises it."""

    def __init__(self, kernel: Any, sources: dict[str, tuple[ASTSource, dict[str, Any], str]]) -> None:
        self.kernel, self.sources = kernel, sources

    def __getitem__(self, _grid: object) -> Callable[..., None]:
        return self._launch

    def _launch(self, *arguments: object, **named: object) -> None:
        names = self.kernel.arg_names
        values = dict(zip(names, arguments, strict=False)) | {k: named[k] for k in named if k in names}
        options = {k: v for k, v in named.items() if k not in names}
        signature: dict[str, str] = {}
        constants: dict[tuple[int], object] = {}
        attributes: dict[tuple[int], list[list[object]]] = {}
        for index, parameter in enumerate(self.kernel.params):
            value, kept = values[parameter.name], not parameter.do_not_specialize
            if parameter.is_constexpr or (kept and isinstance(value, int) and value == 1):
                signature[parameter.name], constants[index,] = "constexpr", value
                continue
            if isinstance(value, torch.Tensor):
                signature[parameter.name] = f"*{ELEMENTS[value.dtype]}"
            else:
                signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, torch.Tensor) or (kept and isinstance(value, int) and value % 16 == 0):
                attributes[index,] = [["tt.divisibility", 16]]
        source = ASTSource(self.kernel, signature, constants, attributes)
        dtype = next(each for each in signature.values() if each.startswith("*"))[1:]
        key = json.dumps([self.kernel.__name__, signature, str(constants), str(attributes), options])
        self.sources[key] = source, options, dtype


def recorded(target: GPUTarget) -> list[tuple[ASTSource, dict[str, Any], str]]:
    """All that a full-size tower launches on such a GPU, exact and in half precision."""
    sources: dict[str, tuple[ASTSource, dict[str, Any], str]] = {}
    for name in ("multiply", "attend", "normalise"):
        setattr(clap_kernels, name, Recorded(getattr(clap_kernels, name), sources))
    clap_triton._reads_shared_memory = lambda _device: target.arch // 10 in {9, 10}
    torch.manual_seed(0)
    tower = build_tower(ClapAudioModelWithProjection(ClapConfig().audio_config).eval(), 1001)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode():
            clap_triton.TritonTower(tower, torch.device("cpu"), dtype)(torch.zeros(BATCH, 1001, 64))
    return list(sources.values())


def main() -> None:
    """Compile."""
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    for source, options, dtype in recorded(target):
        made = triton.compile(source, target=target, options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(made.asm["cubin"])
            file.flush()
            usage = subprocess.run(
                [CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True
            ).stdout
        found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
        assert found, usage
        line = {"kernel": source.fn.__name__, "dtype": dtype, "shared": made.metadata.shared}
        line |= {"registers": int(found[1]), "stack": int(found[2])}
        print(json.dumps(line), flush=True)  # noqa: T201 - what the script is run for


if __name__ == "__main__":
    main()
