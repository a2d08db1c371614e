"""Makes CLAP checkpoints with random weights, tiny or full-size, in transformers' format."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = {
    "bos": "<s>",
    "pad": "<pad>",
    "eos": "</s>",
    "unk": "<unk>",
    "mask": "<mask>",
    "cls": "<s>",
    "sep": "</s>",
}
SENTENCES = [
    "This is a sound of a dog barking.",
    "a crying baby, a siren, glass breaking; rain and wind",
    "Sound of train, Sound of bus, people talking, silence",
]


def tiny_audio(**changes: Any) -> ClapAudioConfig:
    """Four stages of two blocks each, so that windows shift; 118 k parameters."""
    settings: dict[str, Any] = {
        "patch_embeds_hidden_size": 8,
        "depths": [2, 2, 2, 2],
        "num_attention_heads": [1, 2, 2, 4],
        "projection_dim": 32,
    } | changes
    settings["hidden_size"] = settings["patch_embeds_hidden_size"] * 2 ** (len(settings["depths"]) - 1)
    settings["num_hidden_layers"] = len(settings["depths"])
    return ClapAudioConfig(**settings)


def tiny_text() -> ClapTextConfig:
    return ClapTextConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        projection_dim=32,
    )


def tiny_config(**audio: Any) -> ClapConfig:
    # Plain dictionaries: with objects, transformers 5.17 keeps its own defaults.
    return ClapConfig(
        text_config=tiny_text().to_dict(), audio_config=tiny_audio(**audio).to_dict(), projection_dim=32
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that let sounds and words tell: none zero, none swamping the rest, as in a trained model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name.lower():
                weight.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif "relative_position_bias_table" in name:
                weight.copy_(noise)
            elif weight.ndim > 1:
                weight.copy_(1.5 * noise / weight[0].numel() ** 0.5)
            elif "logit_scale" not in name:
                weight.copy_(0.1 * noise)
        for name, buffer in model.named_buffers():
            noise = torch.randn(buffer.shape, generator=generator)
            if name.endswith("running_mean"):
                buffer.copy_(-40.0 + 5.0 * noise)
            elif name.endswith("running_var"):
                buffer.copy_(300.0 * (1.0 + 0.3 * noise).abs())
    return model.eval()


def small_tokenizer() -> PreTrainedTokenizerFast:
    """RoBERTa's kind, byte-level BPE, with a vocabulary of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)


def full_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_file=str(file), model_max_length=512, **names)


def make_clap(
    folder: Path,
    *,
    seed: int = 0,
    config: ClapConfig | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    truncation: str = "rand_trunc",
    safe: bool = True,
) -> Path:
    """Save a random checkpoint with its processor in `folder`."""
    model = randomise(ClapModel(config or tiny_config()), seed)
    model.save_pretrained(folder)
    if not safe:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    extractor = ClapFeatureExtractor(truncation=truncation, frequency_min=50)
    ClapProcessor(extractor, tokenizer or small_tokenizer()).save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
