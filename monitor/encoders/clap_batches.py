"""Batches of sounds through a computation: staged, padded, and replayed as CUDA graphs on a GPU."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monitor.types import FloatArray

logger = logging.getLogger(__name__)

Compute = Callable[[Tensor], Tensor]
"""Samples (B, length) to embeddings (B, D), row by row."""

CUDA_BATCH = 128
"""Larger batches are hardly faster on a GPU, and leave nothing to overlap copies with."""
COPYING_THREADS = 8
"""One alone fills the GPU's staging memory more slowly than it computes."""


def tile(rows: Tensor, clips: Tensor) -> None:
    """Fill `rows` (B, length) as `repeatpad` does: whole copies of `clips` (B, n), then zeros."""
    copies = rows.shape[1] // clips.shape[1]
    filled = copies * clips.shape[1]
    rows[:, :filled].view(len(rows), copies, -1).copy_(clips[:, None])
    rows[:, filled:].zero_()


def runs(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut a sorted sequence into (start, stop) of equal values."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or lengths[stop] != lengths[start]:
            yield start, stop
            start = stop


def lay(host: FloatArray, clips: Sequence[FloatArray], pool: Executor, threads: int) -> int:
    """Lay clips one behind the other in `host`, each thread its share; return how many samples they are."""
    ends = [0, *itertools.accumulate(len(clip) for clip in clips)]
    share = -(-len(clips) // threads)

    def copy(first: int) -> None:
        for index in range(first, min(first + share, len(clips))):
            host[ends[index] : ends[index + 1]] = clips[index]

    for _ in pool.map(copy, range(0, len(clips), share)):
        pass
    return ends[-1]


class CpuBatches:
    """Batch after batch, on the processor."""

    def __init__(self, compute: Compute, length: int, max_batch: int) -> None:
        """Build for windows of `length` samples, at most `max_batch` together.

        One window keeps two threads busy; more together are no faster.
        """
        self._compute = compute
        self._rows = torch.zeros(min(max_batch, 4, max(1, torch.get_num_threads() // 2)), length)

    def embed(self, clips: Sequence[FloatArray]) -> FloatArray:
        """Embed clips, sorted by length: (len(clips), D)."""
        results = []
        for first in range(0, len(clips), len(self._rows)):
            batch = clips[first : first + len(self._rows)]
            for start, stop in runs([len(clip) for clip in batch]):
                tile(self._rows[start:stop], torch.from_numpy(np.stack(batch[start:stop])))
            results.append(self._compute(self._rows[: len(batch)]))
        return torch.cat(results).numpy()


@dataclass
class _Slot:
    """Where a batch lands on its way to the device; two of them let copies and computation overlap."""

    host: Tensor
    """Pinned, flat."""
    device: Tensor
    """Flat."""
    copied: torch.cuda.Event
    tiled: torch.cuda.Event


class CudaBatches:
    """Batch after batch, on a GPU: asynchronous copies, and one CUDA graph per batch size."""

    def __init__(self, compute: Compute, length: int, max_batch: int, device: torch.device) -> None:
        largest = min(max_batch, CUDA_BATCH)
        self._compute = compute
        self._device = device
        self._sizes = sorted({largest, *(1 << power for power in range(largest.bit_length()))})
        self._rows = torch.zeros(largest, length, device=device)
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._slots: list[_Slot] = []
        self._threads = min(COPYING_THREADS, os.cpu_count() or 1)
        self._copiers = ThreadPoolExecutor(self._threads, thread_name_prefix="staging")
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        try:
            self._capture()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._graphs.clear()
            logger.warning("CUDA graphs can't be captured (%s); going on without, more slowly", error)

    def _capture(self) -> None:
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(self._sizes):
            rows = self._rows[:size]
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(2):  # libraries choose their kernels and take their workspaces here
                    self._compute(rows)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Meanwhile another thread may be scoring with the model before.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                result = self._compute(rows)
            self._graphs[size] = (graph, result)

    def embed(self, clips: Sequence[FloatArray]) -> FloatArray:
        """Embed clips, sorted by length: (len(clips), D)."""
        results = []
        largest = self._sizes[-1]
        for number, first in enumerate(range(0, len(clips), largest)):
            batch = clips[first : first + largest]
            self._stage(batch, number)
            # The pool is shared between the graphs, so that a result lasts only until the next replay.
            results.append(self._run(len(batch))[: len(batch)].clone())
        return torch.cat(results).cpu().numpy()

    def _run(self, count: int) -> Tensor:
        size = next(size for size in self._sizes if size >= count)
        if size not in self._graphs:
            return self._compute(self._rows[:size])
        graph, result = self._graphs[size]
        graph.replay()
        return result

    def _stage(self, batch: Sequence[FloatArray], number: int) -> None:
        slot = self._slot(number % 2, sum(len(clip) for clip in batch))
        slot.tiled.synchronize()
        end = lay(slot.host.numpy(), batch, self._copiers, self._threads)
        stream = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copying):
            slot.device[:end].copy_(slot.host[:end], non_blocking=True)
            slot.copied.record()
        stream.wait_event(slot.copied)
        begin = 0
        for start, stop in runs([len(clip) for clip in batch]):
            stop_sample = begin + (stop - start) * len(batch[start])
            tile(self._rows[start:stop], slot.device[begin:stop_sample].view(stop - start, -1))
            begin = stop_sample
        slot.tiled.record(stream)

    def _slot(self, index: int, samples: int) -> _Slot:
        """Slot `index`, made anew where it is too small."""
        if len(self._slots) <= index or len(self._slots[index].host) < samples:
            torch.cuda.synchronize(self._device)
            slot = _Slot(
                host=torch.empty(samples, pin_memory=True),
                device=torch.empty(samples, device=self._device),
                copied=torch.cuda.Event(),  # type: ignore[no-untyped-call]
                tiled=torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            self._slots[index : index + 1] = [slot]
        return self._slots[index]
