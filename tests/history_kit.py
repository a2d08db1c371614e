"""What the history's tests share: rows and batches of windows that a reader can tell apart."""

import numpy as np
from history_writer import DIMENSION, embedding, kind

from monitor.history.segment import SegmentWriter
from monitor.history.values import Rows
from monitor.history.writer import Batch

HOUR = 3600.0
BEGAN = HOUR * 400_000


def rows(first, last, quiet=(), begins=()):
    numbers = range(first, last)
    return Rows(
        np.array([BEGAN + n for n in numbers]),
        np.array([-40.0 - n % 7 for n in numbers], np.float32),
        np.array([n in begins for n in numbers]),
        np.array([np.zeros(DIMENSION) if n in quiet else embedding(n) for n in numbers], np.float16),
    )


def written(stem, *parts, of=None):
    writer = SegmentWriter(stem, of or kind())
    for part in parts:
        writer.append(part)
    writer.close()
    return stem


def batch(first, last, source="hall", **more):
    part = rows(first, last)
    kinds = [kind(source, **more)] * len(part)
    return Batch(kinds, part.end_times, part.levels_dbfs, part.begins, part.embeddings)
