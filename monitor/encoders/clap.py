"""The `clap` encoder: any unfused CLAP checkpoint in transformers' format."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from monitor.config import EncoderConfig
from monitor.encoders.clap_audio import Tower
from monitor.encoders.clap_batches import CpuBatches, CudaBatches
from monitor.encoders.clap_checkpoint import Checkpoint, open_checkpoint, out_of_memory, refusal
from monitor.encoders.clap_logmel import LogMel
from monitor.encoders.clap_towers import read_audio, read_text
from monitor.errors import EncoderError
from monitor.heap import large_blocks_apart, trim
from monitor.types import FloatArray, Window

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 64


class ClapEncoder:
    """Embeds sounds and texts with a CLAP model."""

    def __init__(self, checkpoint: Checkpoint, config: EncoderConfig) -> None:
        """Read the audio tower, move it to its device and warm it up; use `load` for clear errors."""
        self._checkpoint = checkpoint
        self._device = _choose_device("cpu" if config.runtime == "openvino" else config.device)
        self.device = str(self._device)
        features = checkpoint.features
        self.identity = checkpoint.identity
        self.rate_hz = features.rate_hz
        self.max_window_seconds = checkpoint.samples / features.rate_hz
        self.dimension = int(checkpoint.config.projection_dim)
        self.tower: Tower
        self.tower, self.logit_scale = read_audio(checkpoint)
        if config.runtime == "openvino":
            from monitor.encoders.clap_openvino import on_openvino  # noqa: PLC0415 - an extra

            self.tower = on_openvino(self.tower, config.threads, config.dtype, features.mels)
        self.dtype: torch.dtype = getattr(torch, config.dtype)
        if self._device.type == "cuda":
            _warn_of_slowness(self._device, self.dtype)
            self.tower = _on_gpu(self.tower, self._device, self.dtype, features.mels)
        self.tower.place(self._device, self.dtype)
        # What is exact is to be exact from the start; a half-precision tower can't tell the difference.
        precision = torch.float64 if config.dtype == "float32" else torch.float32
        self.log_mel = LogMel(features, precision).to(self._device)
        if self._device.type == "cuda":
            self._batches: CpuBatches | CudaBatches = CudaBatches(
                self._embed, checkpoint.samples, config.max_batch, self._device
            )
        else:
            self._batches = CpuBatches(self._embed, checkpoint.samples, config.max_batch)
        _return_memory()

    @classmethod
    @torch.inference_mode()
    def load(cls, config: EncoderConfig) -> Self:
        """Load `config.model` and warm it up; raises EncoderError, of one line, with the remedy."""
        torch.set_num_threads(config.threads)
        checkpoint = open_checkpoint(config.model)
        try:
            with large_blocks_apart():
                encoder = cls(checkpoint, config)
            encoder._batches.embed([np.ones(checkpoint.samples, dtype=np.float32)])
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                problem = "there isn't enough memory to run it"
                raise refusal(config.model, problem, "free some, lower `encoder.max_batch`") from error
            if _is_device_error(error):
                problem = f"the GPU failed ({_first_line(error)})"
                raise refusal(config.model, problem, "set `encoder.device: cpu`") from error
            raise
        logger.info("loaded %s on %s, %s", checkpoint.identity, encoder._device, config.dtype)
        return encoder

    @torch.inference_mode()
    def embed_audio(self, windows: Sequence[Window]) -> FloatArray:
        """Return unit-length embeddings, shape (len(windows), D); zero rows for digital silence and NaN.

        Windows shorter than the model's input are repeated to fill it. Raises EncoderError where the device
        fails.
        """
        if not windows:
            return np.zeros((0, self.dimension), dtype=np.float32)
        for window in windows:
            if window.rate_hz != self.rate_hz or not 0 < len(window.samples) <= self._checkpoint.samples:
                msg = (
                    f"{window.source}: {len(window.samples)} samples at {window.rate_hz} Hz can't be embedded"
                )
                raise ValueError(msg)
        order = sorted(range(len(windows)), key=lambda index: len(windows[index].samples))
        with self._device_errors():
            sorted_rows = self._batches.embed([windows[index].samples for index in order])
        rows = np.empty_like(sorted_rows)
        rows[order] = sorted_rows
        return rows

    @torch.inference_mode()
    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(prompts), D).

        The text tower, four times the size of the audio tower, is read from the checkpoint for this call and
        freed at its end: embed all texts in one call.
        """
        if not prompts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        with self._device_errors(), large_blocks_apart():
            rows = self._embed_texts(list(dict.fromkeys(prompts)))
        _return_memory()
        return np.stack([rows[prompt] for prompt in prompts])

    def _embed_texts(self, prompts: list[str]) -> dict[str, FloatArray]:
        tokenizer = self._checkpoint.tokenizer()
        tower = read_text(self._checkpoint).to(self._device)
        rows: dict[str, FloatArray] = {}
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            texts = prompts[start : start + TEXTS_AT_ONCE]
            tokens = tokenizer(
                texts, padding=True, truncation=True, max_length=tower.longest, return_tensors="pt"
            ).to(self._device)
            vectors = F.normalize(tower(tokens["input_ids"], tokens["attention_mask"]).float(), dim=-1)
            rows.update(zip(texts, vectors.cpu().numpy(), strict=True))
        return rows

    def _embed(self, samples: Tensor) -> Tensor:
        """(B, length) samples to (B, D) unit-length or zero embeddings."""
        embeddings = F.normalize(self.tower(self.log_mel(samples)), dim=-1)
        heard = samples.any(dim=1) & embeddings.isfinite().all(dim=1)
        # Not torch.where, which may copy its scalar to the device: no CUDA graph can hold that.
        return embeddings.masked_fill(~heard[:, None], 0.0)

    @contextlib.contextmanager
    def _device_errors(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error) or _is_device_error(error):
                reason = _first_line(error)
                msg = f"{self.identity}: the model failed on {self._device} ({reason}); is its memory full?"
                raise EncoderError(msg) from error
            raise


def _choose_device(wanted: str) -> torch.device:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        remedy = "install its driver and a CUDA build of torch, or set `auto`"
        msg = f"encoder.device: cuda: torch sees no usable GPU; {remedy}"
        raise EncoderError(msg)
    return (
        torch.device("cuda", torch.cuda.current_device())
        if available and wanted != "cpu"
        else torch.device("cpu")
    )


def _warn_of_slowness(device: torch.device, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        logger.warning("encoder.dtype: bfloat16: this GPU is too old to calculate it fast; set float16")


def _on_gpu(tower: Tower, device: torch.device, dtype: torch.dtype, mels: int) -> Tower:
    try:
        from monitor.encoders.clap_triton import on_triton  # noqa: PLC0415 - comes with torch's CUDA builds
    except ImportError as error:
        logger.warning("Triton isn't there (%s); going on without, more slowly", error)
        return tower
    return on_triton(tower, device, dtype, mels)


def _is_device_error(error: BaseException) -> bool:
    """CUDA's errors have had a type of their own only since torch 2.8, and its libraries' still have none."""
    return any(
        name in str(error) for name in ("CUDA", "CUBLAS", "CUDNN", "CUFFT", "cuBLAS", "cuDNN", "cuFFT")
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _return_memory() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()
