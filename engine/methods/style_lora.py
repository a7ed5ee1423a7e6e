"""Style LoRA: a LoRA on the blocks that carry style or content, with a rate and a weight a block."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import options_of
from engine.methods.lora import Lora
from engine.methods.pivotal import Word
from engine.models.blocks import carrying, parse_blocks, parse_values
from engine.models.family_spec import BASE
from engine.plan.methods.style_lora import StyleLoraOptions
from engine.plan.schema import Plan

UP = ".lora_B.weight"


class StyleLora(Lora):
    """B-LoRA (arXiv:2403.14572) on SDXL; elsewhere the decoder's blocks, or the ones that are named."""

    table = "style_lora"

    def __init__(
        self, options: StyleLoraOptions, learning_rate: float, seed: int, word: Word | None = None
    ) -> None:
        super().__init__(options, learning_rate, seed, word)
        self.style = options

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, StyleLoraOptions)
        return cls(options, plan.train.learning_rate, plan.seed, Word.of(plan, options))

    def targets(self, family: ModelFamily, part: str) -> list[str]:
        found = super().targets(family, part)
        if part != family.spec.denoiser:
            return found
        chosen = self._chosen(family)
        return [path for path in found if family.block_of(path) in chosen]

    def _chosen(self, family: ModelFamily) -> tuple[str, ...]:
        name = family.spec.name
        if self.style.layers == "blocks":
            return parse_blocks(self.style.blocks, name)
        return carrying(name, self.style.layers)

    def artifact(self, family: ModelFamily) -> Artifact:
        """The pairs with their block's weight in the upper half; a block of weight 0 is left out."""
        whole = super().artifact(family)
        if not self.style.block_weights:
            return whole
        weights = parse_values(self.style.block_weights, family.spec.name)
        tensors = {}
        for name, value in whole.tensors.items():
            part, _, rest = name.partition(".")
            weight = weights.get(BASE if part != family.spec.denoiser else family.block_of(rest), 1.0)
            if weight:
                tensors[name] = value * weight if name.endswith(UP) else value
        return replace(whole, tensors=tensors)
