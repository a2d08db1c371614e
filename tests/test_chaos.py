"""Some minutes of chaos; `make chaos MINUTES=60 SEEDS="2 3"` for more of it."""

import asyncio
import json
import signal

import pytest
from chaos_ledger import Frames, Ledger, WireTap
from chaos_life import Life
from chaos_report import merged, table


@pytest.mark.real
@pytest.mark.beside
@pytest.mark.timeout(900)
def test_five_minutes_of_chaos_lose_and_invent_nothing(chaos_run):
    process, folder = chaos_run
    status = process.wait()
    told = (folder / "told").read_text()
    assert status == 0, told
    print(told)  # noqa: T201
    total = json.loads((folder / "report.json").read_text())["total"]
    assert total["decided"] > 100
    assert total["injected"] > 25


def event(number, phase="start", source="hall"):
    return {"id": str(number), "source": source, "event": "dog", "phase": phase}


def publish(number, packet, source="hall", phase="start"):
    topic = f"sound-monitor/{source}/event".encode()
    payload = json.dumps(event(number, phase, source)).encode()
    body = len(topic).to_bytes(2, "big") + topic + packet.to_bytes(2, "big") + payload
    size = bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) if len(body) > 127 else bytes([len(body)])
    return bytes([0x32]) + size + body


def puback(packet):
    return bytes([0x40, 2]) + packet.to_bytes(2, "big")


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_wire_tap_sees_acknowledgements_however_the_stream_is_cut(chunk):
    ledger = Ledger()
    tap = WireTap(ledger)
    up = publish(1, 5) + bytes([0xC0, 0]) + publish(2, 6, phase="end") + publish(3, 7)
    for at in range(0, len(up), chunk):
        tap.upward(up[at : at + chunk])
    for at, packet in ((0, 6), (1, 5)):
        assert len(ledger.acknowledged) == at
        for byte in puback(packet):
            tap.downward(bytes([byte]))
    assert set(ledger.acknowledged) == {("2", "end"), ("1", "start")}


def test_frames_of_every_length_come_out_whole():
    for size in (0, 1, 127, 128, 16_383, 16_384):
        digits, rest = [], size
        while True:
            digits.append(rest & 0x7F | (0x80 if rest > 127 else 0))
            rest >>= 7
            if not rest:
                break
        packet = bytes([0x30, *digits]) + bytes(size)
        assert list(Frames().feed(packet + packet)) == [(3, 0, bytes(size))] * 2


def test_the_judgement_finds_what_is_wrong():
    ledger = Ledger()
    for number, phase in ((1, "start"), (1, "end"), (2, "start"), (3, "start"), (3, "end"), (4, "start")):
        ledger.decide(event(number, phase), life=0)
    for number, phase in ((1, "start"), (3, "end"), (3, "start"), (3, "start"), (9, "start")):
        key = (str(number), phase)
        ledger.acknowledged[key] = 100.0
        ledger.received.append((key, "hall"))
    ledger.acknowledged["4", "start"] = 50.0
    verdict = ledger.judge()
    assert verdict.duplicates == 1
    assert verdict.lost == [("1", "end"), ("2", "start"), ("4", "start")]
    assert verdict.invented == [("9", "start")]
    assert verdict.disorder == ["hall: ('3', 'start') came late"]
    assert verdict.unpaired == ["2: ['start']", "4: ['start']"]
    assert len(verdict.violations()) == 7
    ledger.broker_deaths.append((48.0, 49.9))
    assert len(ledger.judge().lost) == 3, "acknowledged by a broker that lived"
    ledger.broker_deaths.append((50.5, 50.9))
    assert ledger.judge().lost == [("1", "end"), ("2", "start")]
    assert ledger.judge().forgotten_by_broker == 1


def test_only_what_a_killed_daemon_decided_last_and_had_not_yet_written_is_excused():
    ledger = Ledger()
    for number, source in ((1, "hall"), (2, "hall"), (3, "yard"), (4, "shed")):
        ledger.decide(event(number, source=source), life=0)
    ledger.killed(0, in_outbox={("3", "start")})
    assert ledger.cut_short == {("2", "start"), ("4", "start")}
    assert {key for key, _ in ledger.judge().lost} == {"1", "3"}


def a_report(seed, recovery_seconds, lost=(), **row):
    counts = dict.fromkeys(("injected", "decided", "delivered", "duplicates", "invented", "cut_short"), 1)
    total = dict.fromkeys(("injected", "lives", "decided", "acknowledged", "received", "duplicates"), 1)
    return {
        "seeds": [seed],
        "minutes": 5.0,
        "faults": [
            {"fault": "cut", **counts, "lost": len(lost), "recovery_seconds": recovery_seconds, **row}
        ],
        "total": {**total, "cut_short": 0, "forgotten_by_broker": 0, "lost": list(lost), "invented": []},
        "stop_seconds": float(seed),
        "steady_lives": [{"life": 0, "minutes": 4.0, "mib": 1.5, "handles": 0}],
        "most_rss_mib": 100.0 + seed,
        "most_handles": 30,
        "violations": [f"lost: {key}" for key in lost],
    }


def test_several_seeds_make_one_table():
    both = merged([a_report(1, [0.5, 9.0]), a_report(2, [1.0], lost=["x"]), a_report(3, [], fault="frozen")])
    shown = table(both).splitlines()
    assert "| cut | 2 | 2 | 2 | 2 | 1 | 2 | 2 | 1.0 | 9.0 |" in shown
    assert "| frozen | 1 | 1 | 1 | 1 | 0 | 1 | 1 | - | - |" in shown
    assert "seeds 1, 2, 3, 5 minutes each, 3 faults, 3 processes: 3 decided" in shown[5]
    assert shown[-1] == "VIOLATION: seed 2: lost: x"
    assert both["stop_seconds"] == 3.0
    assert both["most_rss_mib"] == 103.0


class Sleeper:
    """A process of a daemon that does nothing."""

    pid = 0
    returncode = None

    def __init__(self):
        self.stderr = asyncio.StreamReader()

    def send_signal(self, number):
        pass


async def test_a_silence_counts_only_as_far_as_the_daemon_could_run(tmp_path, monkeypatch):
    life = Life(0, Sleeper(), Ledger(), tmp_path)
    now = [100.0]
    monkeypatch.setattr("chaos_life.time.monotonic", lambda: now[0])
    life.listening_at = 0.0
    complaint = json.dumps({"message": "no progress: source hall: no scores for 30 s", "level": "error"})
    life._take(complaint)
    assert [text for text in life.complaints() if "no progress" in text], "it could run all the time"
    life.lines.clear()
    life.send(signal.SIGSTOP)
    now[0] += 20.0
    life.send(signal.SIGCONT)
    life._take(complaint)
    assert not life.complaints(), "it was stopped for two thirds of the time"
    life._reading.cancel()
