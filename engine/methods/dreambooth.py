"""DreamBooth: full training on a few pictures; class pictures and their weight come with the data."""

from __future__ import annotations

from engine.methods.full import Full
from engine.plan.methods.dreambooth import DreamboothOptions


class Dreambooth(Full):
    """Ruiz et al. 2022 (arXiv:2208.12242). The text encoders, where they train, share the UNet's rate."""

    def __init__(self, options: DreamboothOptions, learning_rate: float) -> None:
        learning_rate = options.text_encoder_learning_rate or learning_rate
        super().__init__(learning_rate if options.text_encoder else None)
