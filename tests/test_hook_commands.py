"""Commands: run once for every event, killed when they take too long, and their failure told."""

import asyncio
import os
import sys
import time

import psutil
import pytest
from hook_kit import config, event, outlet
from mqtt_kit import until

from monitor.types import Phase


async def test_a_command_gets_the_event_on_its_input_and_in_its_environment(tmp_path):
    script = tmp_path / "hook.py"
    script.write_text(
        "import json, os, sys\n"
        "with open(sys.argv[1], 'a') as file:\n"
        "    told = json.load(sys.stdin)\n"
        "    print(told['event'], told['phase'], os.environ['SOUND_MONITOR_ID'], file=file)\n"
    )
    out = tmp_path / "out.txt"
    made = config(commands={"lamp": {"run": [sys.executable, str(script), str(out)]}})
    async with outlet(made, tmp_path) as (hook, _):
        await hook.deliver(event(1))
        await hook.deliver(event(1, Phase.END))
        await asyncio.wait_for(hook.flush(), 20)
    assert out.read_text().splitlines() == ["dog start id1", "dog end id1"]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (["/no/such/program"], "'/no/such/program' can't be run: No such file or directory; check `run`"),
        (["sh", "-c", "echo first >&2; echo no lamp >&2; exit 3"], "sh failed (exit status 3): no lamp"),
        (["sh", "-c", "exec 0<&-; exit 0"], None),
    ],
)
async def test_a_command_that_fails_is_told_once_and_not_run_again(tmp_path, caplog, run, says):
    made = config(commands={"lamp": {"run": run}})
    async with outlet(made, tmp_path) as (hook, registry):
        await hook.deliver(event(1))
        await asyncio.wait_for(hook.flush(), 20)
    outcome = "given_up" if says else "delivered"
    told = {"hook": "command lamp", "outcome": outcome}
    assert registry.get_sample_value("sound_monitor_hooks_total", told) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ([f"command lamp: {says}"] if says else [])


@pytest.mark.parametrize("output", ["", " >/dev/null 2>&1"], ids=["holds the pipe", "lets go of it"])
async def test_what_a_command_leaves_at_work_goes_on(tmp_path, caplog, output):
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    script = f"(read word < {go}; echo $word > {done}.new; mv {done}.new {done}){output} &\n"
    if not output:
        script += "echo not today >&2; exit 3"
    made = config(commands={"lamp": {"run": ["sh", "-c", script], "timeout_seconds": 20}})
    async with outlet(made, tmp_path) as (hook, _):
        began = time.monotonic()
        await hook.deliver(event(1))
        await asyncio.wait_for(hook.flush(), 15)
        assert time.monotonic() - began < 15, "nobody waits for it"
        pipe = os.open(go, os.O_RDWR)  # which doesn't wait for a reader
        os.write(pipe, b"finished\n")
        await until(done.exists)
        os.close(pipe)
    assert done.read_text() == "finished\n"
    assert ("sh failed (exit status 3): not today" in caplog.text) == (not output)


async def test_what_a_command_leaves_at_work_may_go_on_talking(tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    made = config(commands={"lamp": {"run": ["sh", "-c", f"(read word < {go}; echo hi >&2; > {done}) &"]}})
    async with outlet(made, tmp_path) as (hook, _):
        await hook.deliver(event(1))
        await asyncio.wait_for(hook.flush(), 15)
        pipe = os.open(go, os.O_RDWR)
        os.write(pipe, b"go\n")
        await until(done.exists)
        os.close(pipe)


async def test_nobody_is_listened_to_any_more_when_all_ends(tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    made = config(commands={"lamp": {"run": ["sh", "-c", f"(read word < {go}; > {done}) &"]}})
    open_before = psutil.Process().num_fds()
    async with outlet(made, tmp_path) as (hook, _):
        await hook.deliver(event(1))
        await asyncio.wait_for(hook.flush(), 15)
    await until(lambda: psutil.Process().num_fds() <= open_before)
    pipe = os.open(go, os.O_RDWR)
    os.write(pipe, b"go\n")
    await until(done.exists)
    os.close(pipe)


@pytest.mark.real
async def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path, caplog):
    pids = tmp_path / "pids"
    run = ["sh", "-c", f"sleep 600 & echo $! $$ > {pids}; wait"]
    made = config(commands={"lamp": {"run": run, "timeout_seconds": 1}})
    async with outlet(made, tmp_path) as (hook, _):
        await hook.deliver(event(1))
        await asyncio.wait_for(hook.flush(), 20)
    assert (
        "command lamp: sh was killed: it took over 1 s; mend it, or raise its timeout_seconds" in caplog.text
    )
    left = [psutil.Process(int(pid)) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
