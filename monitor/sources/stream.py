"""Raw samples from a stream of bytes, in whole blocks and within time limits."""

from __future__ import annotations

import asyncio

from monitor.pcm import Encoding, decode, sample_bytes
from monitor.types import FloatArray

# An event loop that hung finds its timer due before it has looked at the stream: then look again.
_SECOND_LOOK_SECONDS = 0.25


class StalledError(Exception):
    """Nothing came for as long as `args[0]` seconds."""


class RawStream:
    """Reads interleaved PCM; what is in part of a frame at the end is left out.

    The first block may take `first_seconds`, each further one `stall_seconds`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        encoding: Encoding,
        channels: int,
        block_frames: int,
        *,
        first_seconds: float,
        stall_seconds: float,
    ) -> None:
        self._reader = reader
        self._encoding: Encoding = encoding
        self._channels = channels
        self._frame_bytes = channels * sample_bytes(encoding)
        self._block_bytes = block_frames * self._frame_bytes
        self._patience_seconds = first_seconds
        self._stall_seconds = stall_seconds
        self._ended = False

    async def read(self) -> FloatArray | None:
        """Return the next frames, shape (frames, channels); None at the end.

        Raises StalledError when they take too long, OSError when the connection breaks.
        """
        if self._ended:
            return None
        try:
            data = await self._block()
        except asyncio.IncompleteReadError as error:
            self._ended = True
            data = error.partial[: len(error.partial) // self._frame_bytes * self._frame_bytes]
        self._patience_seconds = self._stall_seconds
        return decode(data, self._encoding, self._channels) if data else None

    async def _block(self) -> bytes:
        for patience_seconds in (self._patience_seconds, _SECOND_LOOK_SECONDS):
            try:
                async with asyncio.timeout(patience_seconds):
                    return await self._reader.readexactly(self._block_bytes)
            except TimeoutError:
                continue
        raise StalledError(self._patience_seconds)
