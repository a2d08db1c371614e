"""Matrix products on AMD's processors: wide vectors, the same numbers."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.processor import use_wide_vectors

WIDE = "avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "set_by_user", "expected"),
    [
        ("AuthenticAMD", f"sse avx2 {WIDE}", None, "SkylakeX"),
        ("AuthenticAMD", "sse avx2", None, None),
        ("AuthenticAMD", "sse avx2 avx512f avx512cd", None, None),
        ("GenuineIntel", f"sse avx2 {WIDE}", None, None),
        ("AuthenticAMD", f"sse avx2 {WIDE}", "Haswell", "Haswell"),
    ],
)
def test_wide_vectors_are_for_processors_that_have_all_of_them(
    vendor, flags, set_by_user, expected, tmp_path, monkeypatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\n")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if set_by_user is not None:
        monkeypatch.setenv("OPENBLAS_CORETYPE", set_by_user)
    use_wide_vectors(cpuinfo)
    assert os.environ.get("OPENBLAS_CORETYPE") == expected


def test_a_system_without_cpuinfo_keeps_its_kernels(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    use_wide_vectors(tmp_path / "missing")
    assert "OPENBLAS_CORETYPE" not in os.environ


PROGRAM = """
import sys
import numpy as np
from monitor.encoders.compact import CompactEncoder
from monitor.types import Window
encoder, rate = CompactEncoder.load(), 48000
sound = 0.1 * np.random.default_rng(2).standard_normal(4 * rate).astype(np.float32)
windows = [
    Window(f"s{n}", p, rate, sound[p : p + 2 * rate], 0.0, 2.0, -20.0)
    for n in range(int(sys.argv[1])) for p in range(0, 2 * rate, rate // 2)
]
np.save(sys.stdout.buffer, encoder.embed_audio(windows))
"""


def embedded(core: str | None, sources: int) -> np.ndarray:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    if core is not None:
        environment["OPENBLAS_CORETYPE"] = core
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(sources)], env=environment, capture_output=True, check=True
    )
    return np.load(io.BytesIO(result.stdout))


@pytest.mark.skipif(
    "avx512vl" not in Path("/proc/cpuinfo").read_text(),
    reason="needs a processor with AVX-512",
)
@pytest.mark.parametrize("sources", [1, 5])
def test_embeddings_are_the_same_with_either_kernels(sources) -> None:
    np.testing.assert_allclose(embedded("SkylakeX", sources), embedded("Haswell", sources), atol=1e-5)
