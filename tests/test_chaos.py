"""Some minutes of chaos; `make chaos MINUTES=60 SEED=2` for more of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chaos_ledger import Frames, Ledger, WireTap

CHAOS = Path(__file__).with_name("chaos.py")


@pytest.mark.real
@pytest.mark.timeout(900)
def test_three_minutes_of_chaos_lose_and_invent_nothing(tmp_path):
    command = [sys.executable, str(CHAOS), "--minutes", "3", "--seed", "7"]
    report = tmp_path / "report.json"
    done = subprocess.run([*command, "--report", report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)  # noqa: T201
    told = json.loads(report.read_text())
    assert told["total"]["decided"] > 50
    assert told["total"]["injected"] > 15


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
    ledger.broker_killed_at.append(50.5)
    assert ledger.judge().lost == [("1", "end"), ("2", "start")]
    assert ledger.judge().forgotten_by_broker == 1


def test_only_what_a_killed_daemon_decided_last_and_had_not_yet_written_is_excused():
    ledger = Ledger()
    for number, source in ((1, "hall"), (2, "hall"), (3, "yard"), (4, "shed")):
        ledger.decide(event(number, source=source), life=0)
    ledger.killed(0, in_outbox={("3", "start")})
    assert ledger.cut_short == {("2", "start"), ("4", "start")}
    assert {key for key, _ in ledger.judge().lost} == {"1", "3"}
