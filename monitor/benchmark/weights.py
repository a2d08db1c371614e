"""A CLAP checkpoint of LAION's full-size architecture with random weights: benchmarks need no download."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Make a token of every word and sign, which is about what RoBERTa's tokenizer makes of plain English."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())})
    vocabulary = {token: index for index, token in enumerate([*SPECIAL.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = fast(tokenizer_object=tokenizer, model_max_length=512, **SPECIAL)
    return made


def save_random_clap(folder: Path, texts: Iterable[str]) -> None:
    """Save a checkpoint in `folder` whose tokenizer knows the words of `texts`."""
    torch.manual_seed(0)
    ClapModel(ClapConfig()).save_pretrained(folder)
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14000)
    processor: Any = ClapProcessor
    processor(extractor, _tokenizer(texts)).save_pretrained(folder)
