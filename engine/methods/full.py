"""Full fine-tuning: every weight of the UNet, and of the text encoders where asked."""

from __future__ import annotations

from collections.abc import Sequence

from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import PlainMethod, Trainable


class Full(PlainMethod):
    """Trains the base model's own parameters; `text_rate` none leaves the text encoders frozen."""

    def __init__(self, text_rate: float | None) -> None:
        self.text_rate = text_rate

    def _parts(self, family: ModelFamily) -> list[str]:
        return ["unet", *(family.spec.text_parts if self.text_rate is not None else ())]

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        found = []
        for part in self._parts(family):
            rate = None if part == "unet" else self.text_rate
            for name, parameter in family.parts[part].named_parameters():
                found.append(Trainable(f"{part}.{name}", parameter, part, rate, parameter.ndim > 1))
        return found

    def artifact(self, family: ModelFamily) -> Artifact:
        tensors = {
            f"{part}.{name}": value.detach().float().cpu().clone()
            for part in self._parts(family)
            for name, value in family.parts[part].state_dict().items()
        }
        return Artifact("full", tensors, {})
