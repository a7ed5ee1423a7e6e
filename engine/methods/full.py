"""Full fine-tuning: every weight of the denoiser, and of the text encoders where asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from torch import Tensor

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable, options_of
from engine.models.keymap_text import with_level
from engine.plan.methods.full import FullOptions
from engine.plan.schema import Plan

ENDS = ("conv_norm_out", "conv_out")


class Full(Method):
    """Trains the base model's own parameters; `text_learning_rate` none leaves the text encoders frozen.

    `freeze` names blocks of the denoiser that stay as they are: IN00.., MID, OUT00.., time (the embeddings of
    timestep and sizes) and out (the last norm and convolution).
    """

    def __init__(self, text_learning_rate: float | None, freeze: Sequence[str] = ()) -> None:
        self.text_learning_rate = text_learning_rate
        self.freeze = frozenset(freeze)

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, FullOptions)
        learning_rate = options.text_encoder_learning_rate or plan.train.learning_rate / 2
        return cls(learning_rate if options.text_encoder else None, options.freeze)

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        if self.freeze:
            self._check_blocks(family)
        return list(self._trainables(family))

    def _trainables(self, family: ModelFamily) -> Iterator[Trainable]:
        denoiser = family.spec.denoiser
        parts = (denoiser, *(family.spec.text_parts if self.text_learning_rate is not None else ()))
        for part in parts:
            learning_rate = None if part == denoiser else self.text_learning_rate
            frozen = _paths_in(family, self.freeze) if part == denoiser and self.freeze else frozenset()
            for name, parameter in family.parts[part].named_parameters():
                if name.rpartition(".")[0] not in frozen:
                    # Biases and norms are not decayed: they scale and shift, and have no size to keep small.
                    yield Trainable(f"{part}.{name}", parameter, part, learning_rate, parameter.ndim > 1)

    def _check_blocks(self, family: ModelFamily) -> None:
        known = sorted(set(_blocks(family).values()))
        unknown = sorted(self.freeze - set(known))
        if unknown:
            raise UserError(
                f"freeze: this model has no block {', '.join(unknown)}",
                f"it has {', '.join(known)}",
                "correct the names in the method's `freeze`",
            )
        if self.freeze == set(known):
            raise UserError(
                "freeze names every block of the denoiser", fix="leave at least one block to train"
            )

    def artifact(self, family: ModelFamily) -> Artifact:
        """The trained tensors alone, `PART.NAME`, text encoders with their `text_model.` level."""
        tensors: dict[str, Tensor] = {}
        for item in self._trainables(family):
            tensors[canonical(item)] = item.parameter.detach().float().cpu().clone()
        return Artifact("full", tensors, {})


def canonical(item: Trainable) -> str:
    """A parameter's name as every file says it."""
    name = item.name.removeprefix(f"{item.module}.")
    plain = next(iter(with_level({name: None}))) if item.module.startswith("text_encoder") else name
    return f"{item.module}.{plain}"


def _blocks(family: ModelFamily) -> dict[str, str]:
    """The block of every module of the denoiser that has weights of its own."""
    found: dict[str, str] = {}
    for path, module in family.denoiser.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        block = family.block_of(path)
        found[path] = block if block != "BASE" else "out" if path in ENDS else "time"
    return found


def _paths_in(family: ModelFamily, blocks: frozenset[str]) -> frozenset[str]:
    return frozenset(path for path, block in _blocks(family).items() if block in blocks)
