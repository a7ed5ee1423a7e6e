"""Puts the pairs of a LoRA's file into the layers that were adapted for a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.models.lora_file import LoraFile, matched, read_lora, stems_of
from engine.tensorfiles.memory import load_tensors

LEVEL = "text_model."


class LoraStart:
    """The file that a training goes on from. The change that it makes is the same at step 0, whatever the plan's alpha:
    where that differs, the ratio goes into the upper half."""

    def __init__(self, start: str, key: str) -> None:
        self.key = key
        self.file: LoraFile = read_lora(Path(start).expanduser())
        self.tensors: Mapping[str, Tensor] = load_tensors(self.file.path)
        self.left = set(self.file.pairs)

    @torch.no_grad()
    def fill(self, family: ModelFamily, part: str, targets: list[str], adapter: str) -> None:
        """Every target of a part takes its pair; UserError where the file lacks one or has another shape."""
        module = family.parts[part]
        level = "" if part == family.spec.denoiser or targets[0].startswith(LEVEL) else LEVEL
        stems = stems_of(family.spec, family.configs[part], part, (level + path for path in targets))
        found = matched(self.file, stems)
        for path in targets:
            stem = found.get(level + path)
            if stem is None:
                raise self._misfit(f"it has nothing for {part}.{path}")
            self._pair(stem, module.get_submodule(path), adapter)
            self.left.discard(stem)

    def close(self) -> None:
        """UserError where something of the file was not used; pairs of zeros, which change nothing, may be left."""
        for stem in sorted(self.left):
            if self.tensors[self.file.pairs[stem].up].count_nonzero():
                raise self._misfit(f"{stem} is no layer that this plan adapts")

    def _pair(self, stem: str, layer: nn.Module, adapter: str) -> None:
        pair, own = self.file.pairs[stem], layer
        held: Any = own
        down, up = held.lora_A[adapter].weight, held.lora_B[adapter].weight
        ratio = pair.alpha / pair.rank / float(held.scaling[adapter])
        for parameter, name, factor in ((down, pair.down, 1.0), (up, pair.up, ratio)):
            value = self.tensors[name].float()
            if value.numel() != parameter.numel() or value.shape[:2] != parameter.shape[:2]:
                why = f"{name} is {list(value.shape)}, and {list(parameter.shape)} is needed"
                raise self._misfit(why)
            value = value.reshape(parameter.shape)
            if not torch.isfinite(value).all():
                raise UserError(f"{self.key}: {name} is not finite", fix="name an earlier file")
            parameter.copy_(value if factor == 1.0 else value * factor)

    def _misfit(self, why: str) -> UserError:
        fix = "set targets, rank and text encoder as the file has them, or name another"
        return UserError(f"{self.key}: {self.file.path} does not fit this plan", why, fix)
