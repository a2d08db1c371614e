"""What numpy's matrix products are told of the processor."""

from __future__ import annotations

import os
from pathlib import Path

_WIDE = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}


def use_wide_vectors(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Have OpenBLAS use AVX-512 on AMD's processors that have it; call before numpy is first imported.

    The OpenBLAS of numpy's wheels has its kernels for it, and takes them on Intel's only. What the user has
    set in the environment stays.
    """
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:  # not Linux
        return
    if "AuthenticAMD" in words and words >= _WIDE:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
