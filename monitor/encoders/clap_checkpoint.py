"""A CLAP checkpoint in transformers' format: found and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor

from monitor.encoders import model_folder
from monitor.errors import EncoderError
from monitor.logmel import LogMelSettings

logger = logging.getLogger(__name__)

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
NEEDED = {
    "configuration": ("config.json",),
    "front end's settings": ("preprocessor_config.json", "processor_config.json"),
    "tokenizer": ("tokenizer.json", "vocab.json"),
    "weights": (*SAFETENSORS, *PICKLED),
}
SMALL_FILES = ["*.json", "merges.txt"]
# The hub's errors derive from those of its HTTP client, which was renamed between its versions.
HUB_ERRORS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError)
READ_ERRORS: tuple[type[Exception], ...] = (
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    SafetensorError,
    StrictDataclassError,
    pickle.UnpicklingError,
)
HASHED_AT_ONCE_BYTES = 1 << 20


def refusal(model: str, problem: str, remedy: str) -> EncoderError:
    """Return the one line that tells what is wrong with a model, and what to do."""
    return EncoderError(f"encoder.model: {model}: {problem}; {remedy}, or use `encoder: {{model: compact}}`")


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the memory, the processor's or the GPU's, didn't suffice."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds everything that a CLAP model needs."""

    name: str
    """As configured."""
    folder: Path
    config: Any
    features: LogMelSettings
    samples: int
    """Length of the model's input; shorter sounds are repeated."""
    identity: str
    """The name and the first digits of the weights' SHA-256."""

    def tokenizer(self) -> Any:
        """Read the tokenizer."""
        with telling(self.name, "tokenizer"):
            return AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)


@contextlib.contextmanager
def telling(model: str, part: str) -> Iterator[None]:
    """Turn what goes wrong in reading a part of a checkpoint into one line."""
    try:
        yield
    except READ_ERRORS as error:
        if out_of_memory(error):
            raise refusal(model, "there isn't enough memory to load it", "free some") from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise refusal(model, f"its {part} can't be read ({reason})", "download it again") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars, and its report of the other tower's weights as unexpected."""
    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def open_checkpoint(model: str) -> Checkpoint:
    """Find a checkpoint by hub name or folder, and check all that can be checked without its weights."""
    folder = _find(model)
    if lacking := _lacking(folder):
        raise refusal(model, f"it lacks {lacking}", "complete the download")
    with telling(model, "config.json"):
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = described.get("model_type")
        if kind != "clap":
            raise refusal(
                model, f"it is not a CLAP model but {kind!r}", "name one such as laion/clap-htsat-unfused"
            )
        config = ClapConfig.from_pretrained(folder, local_files_only=True)
    with telling(model, "front end's settings"):
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    _check_unfused(model, config, extractor)
    return Checkpoint(
        name=model,
        folder=folder,
        config=config,
        features=LogMelSettings(
            rate_hz=extractor.sampling_rate,
            n_fft=extractor.fft_window_size,
            hop=extractor.hop_length,
            mels=extractor.feature_size,
            fmin=float(extractor.frequency_min),
            fmax=float(extractor.frequency_max),
        ),
        samples=extractor.nb_max_samples,
        identity=f"{Path(model).name}@{_weights_hash(model, folder)}",
    )


def _check_unfused(model: str, config: Any, extractor: Any) -> None:
    if config.audio_config.enable_fusion or extractor.truncation != "rand_trunc":
        raise refusal(
            model,
            "it is a fused checkpoint, whose results for short sounds depend on chance",
            "use an unfused one such as laion/clap-htsat-unfused",
        )
    if extractor.padding != "repeatpad" or extractor.feature_size != config.audio_config.num_mel_bins:
        problem = (
            f"its front end (padding {extractor.padding!r}, {extractor.feature_size} bands) "
            f"isn't that of a CLAP model ('repeatpad', {config.audio_config.num_mel_bins} bands)"
        )
        raise refusal(model, problem, "use a checkpoint of LAION's")


def _lacking(folder: Path) -> str | None:
    for what, names in NEEDED.items():
        if not any((folder / name).is_file() for name in names):
            return f"{' or '.join(names)} (the {what})"
    return None


def _find(model: str) -> Path:
    folder = model_folder(model)
    if folder is None:
        return _from_hub(model)
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike pathlib's, false for names too long as well
        raise refusal(
            model, "there is no such folder", "name a folder or a model of the Hugging Face hub (owner/name)"
        )
    return folder


def _from_hub(model: str) -> Path:
    """Take the local copy where there is a whole one, so that a start needs no network; else download it."""
    # A partial or absent copy isn't an error yet.
    with contextlib.suppress(*HUB_ERRORS, HFValidationError):
        folder = Path(snapshot_download(model, local_files_only=True))
        if _lacking(folder) is None:
            return folder
    logger.info("%s isn't in the local cache; downloading it", model)
    try:
        with quiet():
            folder = Path(snapshot_download(model, allow_patterns=[*SMALL_FILES, "model*.safetensors"]))
            if not any((folder / name).is_file() for name in SAFETENSORS):
                folder = Path(snapshot_download(model, allow_patterns=[*SMALL_FILES, "pytorch_model*.bin"]))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise refusal(
            model, "there is no such folder, and no such public model on the hub", "check the name"
        ) from error
    except HUB_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = f"it isn't in the local cache and can't be downloaded ({reason})"
        raise refusal(model, problem, "connect to the network once, or name a folder") from error
    return folder


def _weights_hash(model: str, folder: Path) -> str:
    """First 12 hex digits of the SHA-256 over the weight files; reading them also warms the page cache."""
    pattern = (
        "model*.safetensors"
        if any((folder / name).is_file() for name in SAFETENSORS)
        else "pytorch_model*.bin"
    )
    digest = hashlib.sha256()
    with telling(model, "weights"):
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                while chunk := file.read(HASHED_AT_ONCE_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()[:12]
