"""One run of chaos in a world: three lanes of faults, the healing at the end, and what is to be told."""

import asyncio
import contextlib
import math
import random
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field

import chaos_faults_broker
import chaos_faults_daemon
import chaos_faults_sources
from chaos_faults import BROKER, DAEMON, SOURCE, Fault
from chaos_ledger import Verdict
from chaos_world import RECOVERY_SECONDS, World
from mqtt_kit import until

FAULTS = [*chaos_faults_broker.FAULTS, *chaos_faults_sources.FAULTS, *chaos_faults_daemon.FAULTS]
CALM = "none: a longer life"
_CALM_SECONDS = (200.0, 330.0)
_SHORT_RUN_MINUTES = 20.0
_PAUSE_SECONDS = {BROKER: (1.0, 10.0), SOURCE: (1.0, 10.0), DAEMON: (1.0, 12.0)}
_MOST_MIB_GAINED = 30.0
"""In its first ten minutes a daemon without faults gains that much: each thread's heap grows to its peak."""
_MOST_HANDLES_GAINED = 4.0


@dataclass
class Injected:
    """One injection of a fault; times are monotonic seconds."""

    fault: Fault
    began: float
    healing: float = math.inf
    """When what was broken began to be mended: a killed process is started again, say."""
    recovered: float = math.inf

    def disturbed_by(self, other: "Injected") -> bool:
        """Tell whether `other` had broken the daemon while this one's recovery was awaited."""
        return (
            other is not self
            and DAEMON in other.fault.lanes
            and other.began < self.recovered
            and other.recovered > self.healing
        )


@dataclass
class Run:
    """A run of chaos in a world."""

    world: World
    seed: int
    minutes: float
    injected: list[Injected] = field(default_factory=list)
    quiet_at_end: bool = False

    async def run(self) -> None:
        """Inject faults until the time is over, then heal, check the states, and stop the daemon."""
        world = self.world
        starting = asyncio.create_task(world.start())  # without a broker
        await asyncio.sleep(random.Random(self.seed).uniform(3.0, 12.0))
        await world.restart_broker(with_memory=False)
        await starting
        end = time.monotonic() + 60.0 * self.minutes
        locks = {lane: asyncio.Lock() for lane in (BROKER, SOURCE, DAEMON)}
        async with asyncio.TaskGroup() as group:
            for lane in locks:
                group.create_task(self._lane(lane, locks, end))
        await self._settle()

    async def _lane(self, lane: str, locks: dict[str, asyncio.Lock], end: float) -> None:
        dice = random.Random(f"{self.seed} {lane}")
        own = [each for each in FAULTS if each.lanes[0] == lane and self._can(each)]
        bag: list[Fault] = []
        while time.monotonic() < end:
            if not bag:
                bag = dice.sample(own, len(own))
            fault = bag.pop()
            await asyncio.sleep(dice.uniform(*_PAUSE_SECONDS[lane]))
            hold = dice.uniform(*(_CALM_SECONDS if fault.name == CALM else fault.hold_seconds))
            async with contextlib.AsyncExitStack() as held:
                for each in sorted(fault.lanes):
                    await held.enter_async_context(locks[each])
                if time.monotonic() < end:
                    await self._inject(fault, dice, min(hold, max(end - time.monotonic(), 0.0)))

    def _can(self, fault: Fault) -> bool:
        if fault.name == CALM and self.minutes < _SHORT_RUN_MINUTES:
            return False
        has = {"pulse": self.world.pulse is not None, "small disk": self.world.has_small_disk, None: True}
        return has[fault.needs]

    async def _inject(self, fault: Fault, dice: random.Random, hold: float) -> None:
        here = Injected(fault, time.monotonic())
        self.injected.append(here)
        async with fault.inject(self.world, dice):
            await asyncio.sleep(hold)
            here.healing = time.monotonic()
        scored: dict[str, int] = {}
        if not await self.world.until(
            lambda status: self._well(status, fault, here.healing) and _goes_on(status, fault, scored)
        ):
            status = await self.world.status()
            self.world.ledger.problems.append(
                f"{fault.name}: no recovery within {RECOVERY_SECONDS:.0f} s: {status and _brief(status)}"
            )
        here.recovered = time.monotonic()

    def _well(self, status: dict, fault: Fault, healing: float) -> bool:
        """Tell whether what the fault broke works again."""
        offset = time.time() - time.monotonic()
        oldest = status["outbox"]["oldest_at"]
        connected = status["mqtt_connected"] and (
            not status["outbox"]["pending"] or (oldest or 0.0) > healing + offset
        )
        mends_broker = BROKER in fault.lanes
        mends_source = SOURCE in fault.lanes
        online = all(source["state"] == "online" for source in status["sources"])
        if mends_broker:
            return connected
        return online if mends_source else bool(status["sources"])

    async def _settle(self) -> None:
        world = self.world
        healthy = await world.until(
            lambda status: (
                status["mqtt_connected"] and all(source["state"] == "online" for source in status["sources"])
            )
        )
        self.quiet_at_end = healthy and await world.until(self._states_agree, 60.0)
        if not healthy:
            world.ledger.problems.append(f"not well at the end: {_brief(await world.status() or {})}")
        elif not self.quiet_at_end:
            world.ledger.problems.append("the retained states don't become what the page shows")
        life = world.life
        began = time.monotonic()
        status = await world.stop(life)
        if status not in {0, None}:
            world.ledger.problems.append(f"exit status {status} at the end")
        self.stop_seconds = time.monotonic() - began
        with contextlib.suppress(AssertionError):  # what is wrong is told below
            await until(lambda: not (world.ledger.outstanding() or self._wrong_states()), 10.0)
        world.ledger.problems += self._wrong_states()

    def _states_agree(self, status: dict) -> bool:
        prefix = "sound-monitor"
        return not status["outbox"]["pending"] and all(
            self.world.states.get(f"{prefix}/{each['source']}/{each['event']}/state")
            == ("ON" if each["active"] else "OFF")
            for each in status["activities"]
        )

    def _wrong_states(self) -> list[str]:
        """Return what the broker holds after an orderly end and shouldn't."""
        config, states = self.world.config, self.world.states
        wanted = {"sound-monitor/status": "offline"}
        for source in config["sources"]:
            wanted[f"sound-monitor/{source}/status"] = "offline"
            for event in config["events"]:
                wanted[f"sound-monitor/{source}/{event}/state"] = "OFF"
        wrong = [
            f"{topic} ends as {states.get(topic)}, not {payload}"
            for topic, payload in wanted.items()
            if states.get(topic) != payload
        ]
        left = [topic for topic in states if topic.endswith("state") and topic not in wanted]
        return wrong + [f"{topic} stays though nothing has it" for topic in left]

    # The report

    def violations(self, verdict: Verdict) -> list[str]:
        """Tell everything that should not have happened."""
        found = [*self.world.ledger.problems, *verdict.violations()]
        for life in self.world.lives:
            found += life.complaints()
            if (gained := life.growth()) is not None:
                minutes, mib, handles = gained
                if mib > _MOST_MIB_GAINED:
                    found.append(f"life {life.number}: {mib:.1f} MiB gained in {minutes:.0f} minutes")
                if handles > _MOST_HANDLES_GAINED:
                    found.append(f"life {life.number}: {handles:.0f} handles gained in {minutes:.0f} minutes")
        return found

    def rows(self, verdict: Verdict) -> list[dict]:
        """Return a row for each fault; events belong to every fault that was in force at their decision.

        What was never decided belongs to those that were in force when it was first seen.
        """
        ledger = self.world.ledger
        received = defaultdict(int)
        for key, _ in ledger.received:
            received[key] += 1
        spans: dict[str, list[Injected]] = defaultdict(list)
        for each in self.injected:
            spans[each.fault.name].append(each)
        rows = []
        for name, injections in spans.items():
            keys = {
                key
                for key, decided in ledger.decided.items()
                if any(each.began <= decided.at <= each.recovered for each in injections)
            }
            invented = {
                key
                for key in verdict.invented
                if any(each.began <= ledger.seen[key] <= each.recovered for each in injections)
            }
            rows.append(
                {
                    "fault": name,
                    "injected": len(injections),
                    "decided": len(keys),
                    "delivered": sum(1 for key in keys if key in ledger.acknowledged or received[key]),
                    "duplicates": sum(max(0, received[key] - 1) for key in keys),
                    "lost": len(keys & set(verdict.lost)),
                    "invented": len(invented),
                    "cut_short": len(keys & ledger.cut_short - ledger.acknowledged.keys()),
                    "recovery_seconds": [
                        round(each.recovered - each.healing, 2)
                        for each in injections
                        if not any(map(each.disturbed_by, self.injected))
                    ],
                }
            )
        return rows

    def report(self) -> dict:
        """Return everything that is to be told."""
        verdict = self.world.ledger.judge()
        steady = [
            {
                "life": life.number,
                "minutes": round(gained[0], 1),
                "mib": round(gained[1], 2),
                "handles": gained[2],
            }
            for life in self.world.lives
            if (gained := life.growth()) is not None
        ]
        samples = [sample for life in self.world.lives for sample in life.samples]
        return {
            "seeds": [self.seed],
            "minutes": self.minutes,
            "faults": self.rows(verdict),
            "total": {**asdict(verdict), "injected": len(self.injected), "lives": len(self.world.lives)},
            "stop_seconds": round(self.stop_seconds, 2),
            "steady_lives": steady,
            "most_rss_mib": round(max((sample.rss_mib for sample in samples), default=0.0), 1),
            "most_handles": max((sample.handles for sample in samples), default=0),
            "violations": self.violations(verdict),
        }


def _goes_on(status: dict, fault: Fault, scored: dict[str, int]) -> bool:
    """Tell whether windows are scored that came since the first call: of every source, if one was broken.

    `scored` keeps how many each source had by then; another process, or another reading of it, begins at 0.
    """
    now = {each["name"]: each["windows_scored"] for each in status["sources"]}
    for name, count in now.items():
        scored[name] = min(scored.get(name, count), count)
    advanced = [count > scored[name] for name, count in now.items()]
    return all(advanced) if SOURCE in fault.lanes else any(advanced)


def _brief(status: dict) -> dict:
    return {
        "mqtt": status.get("mqtt_connected"),
        "outbox": status.get("outbox"),
        "sources": {each["name"]: each["problem"] or each["state"] for each in status.get("sources", ())},
    }
