"""What the audio network is trained for: the teacher's answers, the clips' labels, scores as they ship."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.net import unit

EVIDENCE_POWER = 0.75
PRIOR_POWER = 0.5
CLASS_SHARE = 0.65
LOGIT_SCALE = 10.0
"""Of the shipped settings (`training.export`): scores are trained as they will be computed."""
ABSENT = 0.1
"""Below this the teacher's probability of a label's classes says that the label isn't heard."""
LABEL_WEIGHT = {
    "esc": 1.0,
    "effects": 0.35,
    "background": 0.35,
    "synth": 0.35,
    "package": 0.2,
}


def evidence(logits: Tensor, prior: Tensor) -> Tensor:
    """Debiased class probabilities as a direction, unit length: sigmoid(logits)^0.75 / prior^0.5."""
    return unit(torch.exp(EVIDENCE_POWER * functional.logsigmoid(logits.float())) * prior**-PRIOR_POWER)


def joined(direction: Tensor, proof: Tensor) -> Tensor:
    """Join both sides of an embedding as `monitor.encoders.compact` does."""
    both = torch.cat([direction.float() * (1 - CLASS_SHARE) ** 0.5, proof.float() * CLASS_SHARE**0.5], dim=1)
    return unit(both)


@dataclass(frozen=True)
class View:
    """A crop of a batch of mixtures, and all that is known of it."""

    mel: Tensor
    """(B, T, 64) dB."""
    probabilities: Tensor
    """(B, 527), the teacher's."""
    feature: Tensor
    """(B, 512), the teacher's."""
    clips: Tensor
    """(B, 2) rows of the pool; -1 where there is no second."""
    heard: Tensor
    """(B, 2) share of the crop in which each clip is heard, 0..1."""


class Objectives(nn.Module):
    """The loss of a view; holds the tables of words and a few scales that are learned."""

    def __init__(self, tables: dict[str, Any], rows: list[dict[str, str]], left_out: list[str]) -> None:
        """`rows` of the pool; labels of `left_out` are in no loss."""
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.3, 2.0, 2.3]))
        self.bias = nn.Parameter(torch.tensor(-6.0))
        self.feature = nn.Linear(512, 512)
        number = {caption: i for i, caption in enumerate(tables["captions"])}
        labels = {text: i for i, text in enumerate(tables["label_texts"])}
        kept = [i for i, name in enumerate(tables["labels"]) if name not in left_out]
        self.labels = kept

        def keep(name: str, value: Tensor) -> None:
            self.register_buffer(
                name, value.float() if value.is_floating_point() else value, persistent=False
            )

        keep("classes", tables["classes"][0])
        keep("captions", tables["caption_sides"][0])
        keep("caption_proofs", tables["caption_sides"][1])
        keep("background", joined(*tables["background"]))
        keep("label_classes", tables["label_classes"][kept].float())
        self.wordings = nn.ParameterList(
            [nn.Parameter(joined(*tables["wordings"][i]), requires_grad=False) for i in kept]
        )
        is_esc = [row["group"] == "esc" for row in rows]
        column = {i: c for c, i in enumerate(kept)}
        keep("clip_caption", torch.tensor([number.get(row["caption"], -1) for row in rows] + [-1]))
        keep(
            "clip_weight",
            torch.tensor(
                [LABEL_WEIGHT.get(row["group"], 0.0) if row["caption"] else 0.0 for row in rows] + [0.0]
            ),
        )
        keep("clip_is_esc", torch.tensor([*is_esc, False]))
        keep(
            "clip_label",
            torch.tensor(
                [
                    column.get(labels.get(row["caption"], -1), -1) if esc else -1
                    for row, esc in zip(rows, is_esc, strict=True)
                ]
                + [-1]
            ),
        )
        keep("esc_captions", torch.tensor([number[tables["label_texts"][i]] for i in kept]))

    def forward(
        self, outputs: tuple[Tensor, Tensor, Tensor], view: View, prior: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Weighted losses by name, of what the network gave for a view: embeddings, logits, hidden layer."""
        direction, logits, hidden = (each.float() for each in outputs)
        boost = ((prior / prior.median()) ** -0.5).clamp(0.3, 3.0)
        probabilities = view.probabilities
        proof = evidence(logits, prior)
        entropy = functional.binary_cross_entropy_with_logits
        soft = (probabilities**0.7 * boost).clamp(max=1.0)
        matching = direction @ self.classes.T * self.scale[0].exp() + self.bias
        toward = unit(probabilities**EVIDENCE_POWER * prior**-PRIOR_POWER)
        guess = self.feature(hidden)
        return {
            "tagging": 0.25 * entropy(logits, probabilities, reduction="none").sum(1).mean(),
            "matching": 0.12 * entropy(matching, soft, reduction="none").sum(1).mean(),
            "evidence": 2.0 * (1 - (proof * toward).sum(1)).mean(),
            "feature": 1.0 * (1 - functional.cosine_similarity(guess, view.feature)).mean(),
            "labels": 0.6 * self._labelled(direction, proof, view),
            "scores": 0.25 * self._scores(joined(direction, proof), view, rng),
        }

    def _labelled(self, direction: Tensor, proof: Tensor, view: View) -> Tensor:
        """Cross entropy of the first clip's caption among others, on both sides of the embedding."""
        clip = view.clips[:, 0]
        clear = (view.heard[:, 0] > 0.15) & (view.heard[:, 0] > view.heard[:, 1])
        weight = self.clip_weight[clip] * clear
        total = direction.new_zeros(())
        caption = self.clip_caption[clip].clamp(min=0)
        for is_esc in (True, False):
            mine = weight * (self.clip_is_esc[clip] == is_esc)
            options = self.esc_captions if is_esc else caption
            same = options[None, :] == caption[:, None]
            target = same.float().argmax(1)
            for k, (side, texts) in enumerate(
                ((direction, self.captions), (proof, self.caption_proofs)), start=1
            ):
                score = side @ texts[options].T * self.scale[k].exp()
                # Another row of the same caption is no competitor.
                twin = same & (torch.arange(len(options), device=same.device)[None, :] != target[:, None])
                score = score.masked_fill(twin, -1e4)
                entropy = functional.cross_entropy(score, target, reduction="none")
                total = total + (entropy * mine).mean()
        return total

    def _scores(self, embedding: Tensor, view: View, rng: np.random.Generator) -> Tensor:
        """Cross entropy of scores as `monitor.heads` computes them, of ESC-50's labels in random wordings.

        A label counts as heard where a clip of it is, and as not heard where no clip has it and the teacher
        agrees; otherwise nobody knows.
        """
        prompts = torch.stack([each[int(rng.integers(len(each)))] for each in self.wordings])
        positive = LOGIT_SCALE * embedding @ prompts.T
        against = torch.logsumexp(LOGIT_SCALE * embedding @ self.background.T, dim=1, keepdim=True)
        label = self.clip_label[view.clips]
        columns = torch.arange(len(self.labels), device=label.device)
        is_label = label[:, :, None] == columns
        heard = (is_label & (view.heard[:, :, None] > 0.15)).any(1)
        there = is_label.any(1)
        suspected = (view.probabilities[:, None, :] * self.label_classes).amax(2)
        absent = ~there & (suspected < ABSENT)
        loss = functional.binary_cross_entropy_with_logits(
            positive - against, heard.float(), reduction="none"
        )
        return (loss * (heard.float() * 3.0 + absent.float())).sum(1).mean()
