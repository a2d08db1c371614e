"""The head that finds what must not be in a clip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monitor.config import Config, EventConfig
from monitor.heads import Head
from monitor.types import FloatArray

_SAME = 0.6
"""Cosine of two texts from which on a background phrase says what a veto says.

With `people talking` in the background, recordings of speech score below 0.5 for `a person speaking`
(0.44 in the third quartile), and 0.73 without it; unrelated phrases have cosines below 0.3.
"""


def veto_head(config: Config, embedded: Mapping[str, FloatArray], logit_scale: float) -> Head | None:
    """Arrange the veto's phrases, an event each, against the background without those that say the same."""
    phrases = config.privacy.veto
    if not phrases or config.clips is None:
        return None
    unwanted = np.stack([embedded[phrase] for phrase in phrases])
    background = tuple(text for text in config.background if (unwanted @ embedded[text]).max() < _SAME)
    events = {f"veto_{index}": EventConfig(prompts=(phrase,)) for index, phrase in enumerate(phrases)}
    changes = {"events": events, "background": background or config.background, "scoring": "independent"}
    return Head.build(config.model_copy(update=changes), embedded, logit_scale)
