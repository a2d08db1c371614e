"""Hostile inputs of every kind that comes from outside, for the fuzz tests."""

import copy
import io
import os
import random
import struct

import numpy as np
import soundfile
import yaml
from hypothesis import strategies as st

CASES = int(os.environ.get("FUZZ_CASES", "1200"))
"""Over all six inputs; `make fuzz CASES=100000` sets it."""
RARE = (
    "\0",
    "\x1b[2J",
    "\r\n",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\ud800",
    "\U0001d54a",
    "é",
    "${X}",
    "${",
    "$$",
    "%",
    "'",
    '"',
)
# Bytes at which parsers go wrong more often than at others.
EDGES = (
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0" * 8,
    b"\r\n",
    b"\n",
    b" ",
)


@st.composite
def mutated(draw, seeds, most: int = 8):
    """One of some byte strings, with bytes replaced, inserted, removed, repeated, swapped or cut off."""
    data = bytearray(draw(st.sampled_from(seeds)))
    # A random generator of hypothesis' own draws cheaply and can be repeated.
    dice = random.Random(draw(st.integers(0, 2**64 - 1)))
    for _ in range(draw(st.integers(0, most))):
        # Beginnings are the interesting part of files with headers.
        place = dice.randrange(min(len(data), dice.choice((16, 64, 256, 1 << 30))) + 1)
        length = dice.choice((1, 1, 2, 4, 8, 32, 256))
        match dice.randrange(8):
            case 0:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                data[place : place + length] = dice.randbytes(length)
            case 2:
                data[place:place] = dice.randbytes(length)
            case 3:
                del data[place : place + length]
            case 4:
                data[place : place + length] = data[place : place + length] * dice.choice((2, 3, 50))
            case 5:
                edge = dice.choice(EDGES)
                data[place : place + len(edge)] = edge
            case 6:
                del data[place:]
            case 7 if place < len(data):
                data[place] ^= 1 << dice.randrange(8)
    return bytes(data)


def odd_text(most: int = 40):
    """Text with what parsers and terminals trip over."""
    piece = st.one_of(st.text(max_size=8), st.sampled_from(RARE))
    return st.lists(piece, max_size=6).map(lambda pieces: "".join(pieces)[:most])


def odd_values():
    """Whatever YAML may hold."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-10, 10),
        st.floats(),
        st.floats(0, 1),
        odd_text(),
        st.sampled_from(
            ["", "compact", "embedded", "microphone", "x" * 5000, "a" * 300 + ".wav", "../../etc"]
        ),
        st.dates(),
        st.binary(max_size=8),
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text(12), inner, max_size=3),
        max_leaves=6,
    )


@st.composite
def mutated_tree(draw, tree):
    """A tree of YAML with some values replaced, removed, renamed or added, as text."""
    tree = copy.deepcopy(tree)
    dice = random.Random(draw(st.integers(0, 2**64 - 1)))
    for _ in range(draw(st.integers(1, 4))):
        node = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = dice.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and dice.random() < 0.8:
                node = node[key]
                continue
            change = dice.randrange(4)
            if change == 0:
                del node[key]
            elif change == 1 and isinstance(node, dict):
                node[draw(odd_text(12))] = node.pop(key)
            elif change == 2 and isinstance(node, dict):
                node[draw(st.sampled_from(["type", "path", "prompts", "tls", "events", "x"]))] = draw(
                    odd_values()
                )
            else:
                node[key] = draw(odd_values())
            break
    text = yaml.safe_dump(tree, allow_unicode=draw(st.booleans()), sort_keys=False)
    return text.encode("utf-8", "surrogatepass")


def encoded(
    kind: str, subtype: str | None = None, channels: int = 1, rate_hz: int = 16_000, frames: int = 1600
) -> bytes:
    """A small sound file."""
    file = io.BytesIO()
    sound = 0.3 * np.sin(np.arange(frames * channels).reshape(-1, channels) / 7.0)
    soundfile.write(file, sound, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def sound_files() -> list[bytes]:
    """Good ones, of every kind that is taken."""
    return [
        encoded("WAV"),
        encoded("WAV", "FLOAT", channels=2),
        encoded("WAV", "PCM_U8", rate_hz=8_000),
        encoded("WAV", "DOUBLE"),
        encoded("WAV", "MS_ADPCM"),
        encoded("WAV", "PCM_24", channels=32),
        encoded("FLAC"),
        encoded("FLAC", channels=2, rate_hz=44_100),
        encoded("OGG"),
        encoded("OGG", "OPUS", rate_hz=48_000),
        encoded("MP3"),
        encoded("AIFF"),
        encoded("AU"),
    ]


@st.composite
def made_up_wav(draw):
    """A WAV whose header says anything, and whose samples are anything."""
    code = draw(st.sampled_from([1, 3, 6, 7, 2, 0xFFFE, 0, 85, 65535]))
    channels = draw(st.sampled_from([0, 1, 2, 3, 32, 64, 65, 1024, 65535]))
    rate_hz = draw(
        st.sampled_from([0, 1, 7, 999, 1000, 8000, 11025, 48000, 96000, 768000, 1_000_001, 2**31, 2**32 - 1])
    )
    bits = draw(st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64, 65535]))
    width = draw(st.sampled_from([0, 1, 2, 4, 8, 65535, channels * bits // 8 & 0xFFFF]))
    samples = draw(
        st.one_of(
            st.binary(max_size=64),
            st.lists(st.floats(width=32), max_size=64).map(
                lambda floats: struct.pack(f"<{len(floats)}f", *floats)
            ),
            st.sampled_from(
                [b"\0" * 4000, b"\xff" * 4000, struct.pack("<2f", float("nan"), float("inf")) * 500]
            ),
        )
    )
    length = draw(st.sampled_from([len(samples), 0, 1, 2**31 - 1, 2**32 - 1, len(samples) * 2]))
    form = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * width & 0xFFFFFFFF, width, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + (b"data" + struct.pack("<I", length & 0xFFFFFFFF) + samples)
    )


def sounds():
    """Files that may or may not be sound."""
    return st.one_of(
        mutated(sound_files()), mutated(sound_files(), most=2), made_up_wav(), st.binary(max_size=200)
    )


MANIFESTS = [
    b"path,label,onset,offset\na.wav,dog,0.5,1.5\na.wav,cat,2,3\nb.wav,,,\n",
    b'path,label\na.wav,Dog bark\n"b.wav","say ""woof"""\n',
    b"path,label,event\na.wav,dog,dog_bark\n",
    b"path\tlabel\tonset\toffset\na.wav\tdog\t0.5\t1.5\n",
    b"\xef\xbb\xbfpath,label\r\na.wav,dog\r\n",
]


@st.composite
def tables(draw):
    """CSV or TSV that may be a manifest."""
    if draw(st.booleans()):
        return draw(mutated(MANIFESTS))
    numbers = st.sampled_from(["0", "1.5", "-1", "nan", "inf", "1e999", "1_0", "٣", "", " 2 ", "0x1"])
    cell = st.one_of(
        st.sampled_from(["a.wav", "b.wav", "dog", "dog_bark", "..", "/", "x" * 300]), numbers, odd_text()
    )
    head = draw(
        st.lists(
            st.sampled_from(["path", "label", "onset", "offset", "event", "x", ""]), min_size=1, max_size=6
        )
    )
    rows = [
        ["path", "label", "onset", "offset"] if draw(st.booleans()) else head,
        *draw(st.lists(st.lists(cell, max_size=6), max_size=4)),
    ]
    separator = draw(st.sampled_from([",", ",", "\t", ";"]))
    quote = draw(st.sampled_from(["", '"']))
    text = "\n".join(separator.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    return text.encode("utf-8", "surrogatepass")


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\nAccept: application/openmetrics-text; q=0.5\r\n\r\n",
    b'GET /status.json?x=%ff&token=abc#x HTTP/1.1\r\nHost: [::1]\r\nCookie: sound_monitor=abc; a="b\r\n\r\n',
    b"HEAD /healthz HTTP/1.0\r\n\r\n",
    b"GET /?token=%00%ff HTTP/1.1\r\nHost: localhost.\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@st.composite
def requests(draw):
    """What may come in at the HTTP port, one or several after each other."""
    return b"".join(draw(st.lists(mutated(REQUESTS, most=4), min_size=1, max_size=3)))


def packet(kind: int, body: bytes) -> bytes:
    """An MQTT control packet of at most 127 bytes."""
    return bytes([kind, len(body)]) + body


CONNECT = packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x04fuzz")
PACKETS = [
    packet(0x30, b"\x00\x03a/bhello"),
    packet(0x32, b"\x00\x03a/b\x00\x07hello"),
    packet(0x34, b"\x00\x03a/b\x00\x08hello"),
    packet(0x82, b"\x00\x01\x00\x03a/#\x01"),
    packet(0xA2, b"\x00\x02\x00\x03a/#"),
    packet(0x40, b"\x00\x07"),
    packet(0x62, b"\x00\x08"),
    packet(0x90, b"\x00\x01\x01"),
    packet(0x20, b"\x00\x00"),
    packet(0xC0, b""),
    packet(0xD0, b""),
    packet(0xE0, b""),
    CONNECT,
    packet(0x10, b"\x00\x04MQTT\x04\xee\x00\x05\x00\x01c\x00\x01t\x00\x01m\x00\x01u\x00\x01p"),
    b"\x30\xff\xff\xff\x7f\x00\x03a/b",
    b"\x30\xff\xff\xff\xff\xff",
]


@st.composite
def packets(draw):
    """Bytes that may be MQTT."""
    return b"".join(draw(st.lists(mutated(PACKETS, most=3), max_size=4)))
