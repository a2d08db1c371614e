"""The list of faults names tests that are there and metrics that are told."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from monitor.config import Config
from monitor.metrics import Metrics

TESTS = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS / "FAULTS.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| fault")
]


def test_every_fault_has_a_test_that_is_there():
    for fault, _, _, tests in ROWS:
        named = re.findall(r"`([^`]+)`", tests)
        assert named, fault
        module = ""
        for text in named:
            prefix, _, name = text.rpartition(": ")
            module = prefix or module
            if not prefix and name.startswith("test_"):
                module = name
                assert (TESTS / f"{module}.py").exists(), fault
                continue
            code = (TESTS / f"{module}.py").read_text()
            assert f"test_{name.removesuffix('...')}" in code, (fault, name)


def test_every_metric_in_it_is_told():
    config = Config.model_validate({"sources": {"hall": {}}, "events": {"dog": "a dog"}})
    registry = CollectorRegistry()
    Metrics(registry, config)
    told = generate_latest(registry).decode()
    for fault, _, metrics, _ in ROWS:
        for name in re.findall(r"`([a-z_]+)[`{]", metrics):
            assert name == "up" or f"sound_monitor_{name}" in told, (fault, name)
