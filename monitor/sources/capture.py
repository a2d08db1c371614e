"""The capture helper: a process that opens one input, copies its samples into a ring, and sends them on.

`python -m monitor.sources.capture REQUEST` with a socket as standard input, started by `helper.start`.
It imports little (no numpy), and ends when the socket's other end is closed, whatever PortAudio does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from monitor.errors import SourceError
from monitor.sources.devices import InputDevice, match
from monitor.sources.helper import PACKET_HEAD, SAMPLE_BYTES, Opened, PacketHead

_CLOSE_SECONDS = 0.5


class Ring:
    """Preallocated slots of one block each, going round between PortAudio's callback and the sender."""

    def __init__(self, slots: int, block_bytes: int) -> None:
        self._slots = [memoryview(bytearray(block_bytes)) for _ in range(slots)]
        self._free: SimpleQueue[int] = SimpleQueue()
        self._full: SimpleQueue[tuple[int, PacketHead]] = SimpleQueue()
        for slot in range(slots):
            self._free.put(slot)
        self._lost = 0
        self._overflows = 0

    def fill(self, data: Any, frames: int, overflow: bool, arrived_at: float) -> None:
        """Copy a block in; when no slot is free, count it as lost. Never waits."""
        self._overflows += overflow
        try:
            slot = self._free.get_nowait()
        except Empty:
            self._lost += frames
            return
        self._slots[slot][:] = data
        self._full.put((slot, PacketHead(self._lost, self._overflows, arrived_at)))
        self._lost = self._overflows = 0

    def send(self, connection: socket.socket, timeout_seconds: float) -> bool:
        """Wait for a block and send it; return False when none came in time."""
        try:
            slot, head = self._full.get(timeout=timeout_seconds)
        except Empty:
            return False
        connection.sendall(PACKET_HEAD.pack(*head))
        connection.sendall(self._slots[slot])
        self._free.put(slot)
        return True


def main() -> int:
    """Serve one request and return the exit status."""
    # Ctrl-C and systemd's stop go to the whole group; the parent decides when its sources end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    request = json.loads(sys.argv[1])
    parent_gone = threading.Event()
    with socket.socket(fileno=os.dup(0)) as connection:
        threading.Thread(target=_watch_parent, args=(connection, parent_gone), daemon=True).start()
        try:
            serve(request, connection, parent_gone)
        except SourceError as error:
            _answer(connection, {"error": str(error)})
            return 1
        except (BrokenPipeError, ConnectionResetError):
            return 0
    return 0


def serve(request: dict[str, Any], connection: socket.socket, parent_gone: threading.Event) -> None:
    """Answer with the list of inputs, or open one and send its samples until either side ends."""
    try:
        import sounddevice  # noqa: PLC0415 - only this process, and it must be able to tell that it's missing
    except OSError as error:
        raise SourceError(
            f"PortAudio, which talks to sound cards, is missing ({error}): apt install libportaudio2"
        ) from None
    inputs = _query(sounddevice)
    if "list" in request:
        _answer(connection, {"inputs": [each.to_json() for each in inputs]})
        return
    device = match(request["device"], inputs)
    channels = min(request["channels"], device.channels)
    rate_hz = _rate(sounddevice, device, channels, request["rate_hz"])
    frames = max(1, round(request["block_seconds"] * rate_hz))
    slots = max(4, round(request["ring_seconds"] * rate_hz / frames))
    ring = Ring(slots, frames * channels * SAMPLE_BYTES)

    def callback(data: Any, frames: int, _times: Any, status: Any) -> None:
        ring.fill(data, frames, status.input_overflow, time.monotonic())

    try:
        stream = sounddevice.RawInputStream(
            device=device.index,
            channels=channels,
            samplerate=rate_hz,
            blocksize=frames,
            dtype="float32",
            latency="high",
            callback=callback,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise SourceError(
            f"device {device.name!r} can't be opened ({_reason(error)}): "
            "is it unplugged, or held by another program?"
        ) from None
    opened = Opened(device.name, rate_hz, channels, device.channels, frames)
    _answer(connection, {"opened": asdict(opened)})
    try:
        while stream.active and not parent_gone.is_set():
            ring.send(connection, timeout_seconds=0.25)
    finally:
        # Said before PortAudio is asked to close, which may hang.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)


def _watch_parent(connection: socket.socket, parent_gone: threading.Event) -> None:
    """End this process soon after the parent has closed its end, even if PortAudio hangs."""
    # Reset: closed by a parent that had not read everything.
    with contextlib.suppress(ConnectionError):
        while connection.recv(1):
            pass
    parent_gone.set()
    time.sleep(_CLOSE_SECONDS)
    os._exit(0)


def _answer(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


def _rate(sounddevice: Any, device: InputDevice, channels: int, wanted_hz: int) -> int:
    """Return the wanted rate where the device takes it and nothing is cut off by it, else its own."""
    if wanted_hz > device.default_rate_hz:
        try:
            sounddevice.check_input_settings(device.index, channels, "float32", samplerate=wanted_hz)
        except sounddevice.PortAudioError:
            return device.default_rate_hz
        return wanted_hz
    return device.default_rate_hz


def _query(sounddevice: Any) -> list[InputDevice]:
    apis = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            index=each["index"],
            name=each["name"],
            host_api=apis[each["hostapi"]]["name"],
            channels=each["max_input_channels"],
            default_rate_hz=round(each["default_samplerate"]),
            is_default=each["index"] == default,
            card=_card_id(each["name"]),
        )
        for each in sounddevice.query_devices()
        if each["max_input_channels"] > 0
    ]


def _card_id(name: str) -> str | None:
    """Return ALSA's id of the card whose number stands in a device's name."""
    found = re.search(r"\(hw:(\d+),\d+\)", name)
    try:
        return Path(f"/proc/asound/card{found[1]}/id").read_text().strip() if found else None
    except OSError:
        return None


def _reason(error: Exception) -> str:
    """Return the text of a PortAudioError: the host API's own where there is one."""
    *_, text = error.args[2] if len(error.args) > 2 else error.args[:1]
    return " ".join(str(text).removeprefix("Error opening RawInputStream: ").split())


if __name__ == "__main__":
    sys.exit(main())
