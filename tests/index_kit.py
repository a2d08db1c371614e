"""Recordings of tones with an index, for the tests of the index and of the search in it."""

from tones import ToneEncoder, write_scene

from monitor.past.index import Index
from monitor.past.query import plain_config

PLAIN = plain_config("compact", 1.0, 0.25)


def indexed(folder, **files):
    for name, parts in files.items():
        write_scene(folder / f"{name}.wav", *parts)
    Index(folder).update(PLAIN, ToneEncoder(), lambda *_: None)
    return Index(folder)
