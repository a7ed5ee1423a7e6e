"""From scratch: a denoiser with fresh weights beside the base's own VAE and text encoders, which stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Trainable, options_of
from engine.methods.full import Full
from engine.models.widths import widths_of
from engine.plan.methods.scratch import ScratchOptions
from engine.plan.schema import Plan


class Scratch(Full):
    """The fresh weights are keyed by the seed, so a run that is put together again starts from the same ones."""

    def __init__(self, options: ScratchOptions, seed: int) -> None:
        super().__init__(None)
        self.options = options
        self.seed = seed

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, ScratchOptions)
        return cls(options, plan.seed)

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        options = self.options
        widths = widths_of(family.configs[family.spec.denoiser], options.size, options.widths)
        family.renew_denoiser(widths, self.seed)
        if options.prediction != "base":
            family.predict(options.prediction, options.zero_terminal_snr)
        return super().prepare(family)

    def artifact(self, family: ModelFamily) -> Artifact:
        """Every tensor of the denoiser, which takes nothing from the base."""
        return Artifact("full", super().artifact(family).tensors, {"fresh": (family.spec.denoiser,)})
