"""What both encoders' graphs for OpenVINO share; imported only where `encoder.runtime` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monitor.errors import EncoderError
from monitor.types import FloatArray

try:
    import openvino
    from openvino import opset13 as ops
except ImportError as error:
    remedy = "pip install 'sound-monitor[openvino]', or set `builtin`"
    raise EncoderError(f"encoder.runtime: openvino: it isn't installed ({error}); {remedy}") from None

__all__ = ["PRECISIONS", "Calculate", "Node", "affine", "axes", "compiled", "ops", "reshape"]

Node = Any
"""A tensor to be calculated, of OpenVINO's own untyped kind."""
Calculate = Callable[..., list[FloatArray]]

PRECISIONS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def compiled(inputs: Sequence[Node], outputs: Sequence[Node], threads: int, dtype: str) -> Calculate:
    """Compile a graph for this processor; what is returned copies its results, and is for one thread.

    Not by `openvino.convert_model`, which would report its use over the network.
    """
    core = openvino.Core()
    precision = PRECISIONS[dtype]
    if precision != "f32" and precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        msg = f"encoder.dtype: {dtype}: this processor has no arithmetic of that kind; set `float32`"
        raise EncoderError(msg)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    model = openvino.Model(list(outputs), list(inputs))
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def calculate(*arrays: FloatArray) -> list[FloatArray]:
        results = request.infer(list(arrays), share_inputs=True)
        return list(results.to_tuple())

    return calculate


def axes(numbers: int | list[int]) -> Node:
    """Return axes as the operations take them."""
    return np.array(numbers)


def reshape(x: Node, shape: Sequence[int]) -> Node:
    """Give the shape, with one -1 at most."""
    return ops.reshape(x, np.array(shape), special_zero=False)


def affine(x: Node, weight: FloatArray, bias: FloatArray | None) -> Node:
    """Multiply by (out, in) weights and add."""
    product = ops.matmul(x, weight, transpose_a=False, transpose_b=True)
    return product if bias is None else ops.add(product, bias)
