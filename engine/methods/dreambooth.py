"""DreamBooth: full training on a few pictures; class pictures and their weight come with the data."""

from __future__ import annotations

from typing import Self

from engine.methods.base import options_of
from engine.methods.full import Full
from engine.plan.methods.dreambooth import DreamboothOptions
from engine.plan.schema import Plan


class Dreambooth(Full):
    """Ruiz et al. 2022 (arXiv:2208.12242). The text encoders, where they train, share the UNet's rate."""

    def __init__(self, options: DreamboothOptions, learning_rate: float) -> None:
        learning_rate = options.text_encoder_learning_rate or learning_rate
        super().__init__(learning_rate if options.text_encoder else None)

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, DreamboothOptions)
        return cls(options, plan.train.learning_rate)
