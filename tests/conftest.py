"""What the tests share: the recordings' folder, and a skip that says so where it is absent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from page_kit import browser, page, shown

__all__ = ["browser", "page", "shown"]  # fixtures

# No deadline: a busy machine is not a bug. Derandomised: the same commit gives the same result.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

if not any(Path("/dev").glob("nvidia*")):
    # Read where kernels are defined, Triton's own too; transformers imports those.
    os.environ["TRITON_INTERPRET"] = "1"

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SOUND_MONITOR_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "audio" / "manifest.csv").exists():
        pytest.skip(f"the recordings are not at {SHARED} (set SOUND_MONITOR_SHARED)")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs beside the other tests is judged after them."""
    items.sort(key=_is_beside)


def _is_beside(item: pytest.Item) -> bool:
    return item.get_closest_marker("beside") is not None


@pytest.fixture(scope="session", autouse=True)
def chaos_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Five minutes of chaos, which mostly waits, begun with the first test if its own is to come."""
    if not any(map(_is_beside, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("chaos")
    chaos = Path(__file__).with_name("chaos.py")
    command = [sys.executable, chaos, "--minutes", "5", "--seed", "7", "--report", folder / "report.json"]
    with (folder / "told").open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
    yield process, folder
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # it ends what it has started
        process.wait(60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)
