"""What was decided, what the broker acknowledged and what a subscriber received; and whether that is right.

Three witnesses that know nothing of each other:

- decided: the daemon's log, which tells every start and end before anything else is done with it
- acknowledged: the frames that pass between the daemon and the broker, read on the wire
- received: a subscriber of its own, with a session that the broker keeps

At least once means: whatever was decided was acknowledged by the broker. What a broker acknowledged and
forgot because it was killed at that moment is the broker's loss; it is counted and shown, not hidden.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Key = tuple[str, str]
"""An event's id and phase."""

_PUBLISH, _PUBACK = 3, 4
BROKER_LOSS_SECONDS = 2.0
"""What a broker acknowledged so shortly before it was killed may not have been handed on."""


@dataclass(frozen=True)
class Decided:
    """A start or an end as the log tells it."""

    key: Key
    source: str
    name: str
    at: float
    """Monotonic seconds."""
    life: int
    """Which of the daemon's processes decided it."""


class Frames:
    """Cuts a stream of MQTT into packets."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and body of every packet that is whole now."""
        self._data += data
        while (packet := self._whole()) is not None:
            yield packet

    def _whole(self) -> tuple[int, int, bytes] | None:
        length, at = 0, 1
        while True:
            if at >= len(self._data):
                return None
            digit = self._data[at]
            length |= (digit & 0x7F) << (7 * (at - 1))
            at += 1
            if not digit & 0x80:
                break
        if len(self._data) < at + length:
            return None
        head, body, self._data = self._data[0], self._data[at : at + length], self._data[at + length :]
        return head >> 4, head & 0x0F, body


class WireTap:
    """Sees one connection's event messages and their acknowledgements."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._up, self._down = Frames(), Frames()
        self._unacknowledged: dict[bytes, Key] = {}

    def upward(self, data: bytes) -> None:
        for kind, flags, body in self._up.feed(data):
            if kind == _PUBLISH and flags & 0b0110:
                size = int.from_bytes(body[:2], "big")
                topic, number, payload = body[2 : 2 + size], body[2 + size : 4 + size], body[4 + size :]
                if topic.endswith(b"/event"):
                    event = json.loads(payload)
                    self._unacknowledged[number] = (event["id"], event["phase"])

    def downward(self, data: bytes) -> None:
        for kind, _, body in self._down.feed(data):
            if kind == _PUBACK and (key := self._unacknowledged.pop(body[:2], None)):
                self._ledger.acknowledge(key)


@dataclass
class Ledger:
    """The three records, and what may excuse a difference."""

    decided: dict[Key, Decided] = field(default_factory=dict)
    acknowledged: dict[Key, float] = field(default_factory=dict)
    received: list[tuple[Key, str]] = field(default_factory=list)
    """With the source."""
    seen: dict[Key, float] = field(default_factory=dict)
    """When it was first acknowledged or received."""
    broker_deaths: list[tuple[float, float]] = field(default_factory=list)
    """When a broker was about to be killed, and when nothing of it could come any more."""
    cut_short: set[Key] = field(default_factory=set)
    """Decided within the last moment of a killed daemon, and not yet in its outbox."""
    problems: list[str] = field(default_factory=list)

    def decide(self, event: dict, life: int) -> None:
        """Take down what the log tells."""
        key = (event["id"], event["phase"])
        if key in self.cut_short:  # an end that a kill cut short is told by the next process
            self.cut_short.remove(key)
            del self.decided[key]
        elif key in self.decided:
            self.problems.append(f"decided twice: {self.decided[key]}")
        self.decided[key] = Decided(key, event["source"], event["event"], time.monotonic(), life)

    def acknowledge(self, key: Key) -> None:
        """Take down what the broker answers."""
        now = time.monotonic()
        self.acknowledged.setdefault(key, now)
        self.seen.setdefault(key, now)

    def receive(self, key: Key, source: str) -> None:
        """Take down what the subscriber gets."""
        self.received.append((key, source))
        self.seen.setdefault(key, time.monotonic())

    def killed(self, life: int, in_outbox: set[Key]) -> None:
        """Take down what a killed daemon leaves: its last decision on each source may not be safe yet."""
        last = {each.source: each for each in self.decided.values() if each.life == life}
        for each in last.values():
            if each.key not in in_outbox and each.key not in self.acknowledged:
                self.cut_short.add(each.key)

    def outstanding(self) -> set[Key]:
        """What the broker has still to acknowledge."""
        return self.decided.keys() - self.acknowledged.keys() - self.cut_short

    def judge(self) -> "Verdict":
        """Compare the records."""
        received = Counter(key for key, _ in self.received)
        lost = [key for key in self.decided if key not in self.acknowledged and key not in received]
        excused = [key for key in lost if key in self.cut_short]
        forgotten = [key for key in self.acknowledged if key not in received]
        by_broker = [key for key in forgotten if self._broker_died_after(self.acknowledged[key])]
        invented = [key for key in [*received, *self.acknowledged] if key not in self.decided]
        return Verdict(
            decided=len(self.decided),
            acknowledged=len(self.acknowledged),
            received=len(received),
            duplicates=sum(received.values()) - len(received),
            lost=sorted({*lost, *forgotten} - {*excused, *by_broker}),
            invented=sorted(set(invented)),
            cut_short=len(excused),
            forgotten_by_broker=len(by_broker),
            disorder=list(self._disorder()),
            unpaired=list(self._unpaired()),
        )

    def _broker_died_after(self, at: float) -> bool:
        return any(began - BROKER_LOSS_SECONDS <= at <= over for began, over in self.broker_deaths)

    def _disorder(self) -> Iterator[str]:
        """Yield what was received before something that had been decided earlier on the same source."""
        place = {key: number for number, key in enumerate(self.decided)}
        newest: dict[str, int] = {}
        for key, source in dict(self.received).items():
            if key in place:
                if place[key] < newest.get(source, -1):
                    yield f"{source}: {key} came late"
                newest[source] = max(newest.get(source, -1), place[key])

    def _unpaired(self) -> Iterator[str]:
        """Yield starts that were told without one end after them, and ends without a start."""
        told = [each for key, each in self.decided.items() if key not in self.cut_short]
        phases: dict[str, list[str]] = {}
        for each in told:
            phases.setdefault(each.key[0], []).append(each.key[1])
        for id_, said in phases.items():
            if said != ["start", "end"]:
                yield f"{id_}: {said}"


@dataclass(frozen=True)
class Verdict:
    """What the comparison gave."""

    decided: int
    acknowledged: int
    received: int
    duplicates: int
    lost: Sequence[Key]
    invented: Sequence[Key]
    cut_short: int
    forgotten_by_broker: int
    disorder: Sequence[str]
    unpaired: Sequence[str]

    def violations(self) -> list[str]:
        """Tell each in a line."""
        return [
            *(f"lost: {key}" for key in self.lost),
            *(f"invented: {key}" for key in self.invented),
            *(f"out of order: {text}" for text in self.disorder),
            *(f"not one start and one end: {text}" for text in self.unpaired),
        ]
