"""Puts the tensors of a LoHa's or LoKr's file into the layers that were adapted for a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.models.lora_file import matched, stems_of
from engine.models.lycoris_file import STRONG, read_lycoris
from engine.tensorfiles.memory import load_tensors

LEVEL = "text_model."


class LycorisStart:
    """The file that a training goes on from. The change that it makes is the same at step 0: where the plan's strength
    is another than the file's, the ratio goes into one tensor of each module."""

    def __init__(self, start: str, kind: str, key: str) -> None:
        self.key = key
        self.file = read_lycoris(Path(start).expanduser(), kind)
        self.tensors: Mapping[str, Tensor] = load_tensors(self.file.path)
        self.left = set(self.file.pairs)

    @torch.no_grad()
    def fill(self, family: ModelFamily, part: str, targets: list[str], adapter: str) -> None:
        """Every target of a part takes its tensors; UserError where the file lacks one or has another shape."""
        module = family.parts[part]
        level = "" if part == family.spec.denoiser or targets[0].startswith(LEVEL) else LEVEL
        stems = stems_of(family.spec, family.configs[part], part, (level + path for path in targets))
        found = matched(self.file, stems)
        for path in targets:
            stem = found.get(level + path)
            if stem is None:
                raise self._misfit(f"it has nothing for {part}.{path}")
            self._module(stem, module.get_submodule(path), adapter)
            self.left.discard(stem)

    def close(self) -> None:
        """UserError where something of the file was not used."""
        if self.left:
            raise self._misfit(f"{min(self.left)} is no layer that this plan adapts")

    def _module(self, stem: str, layer: Any, adapter: str) -> None:
        held = self.file.pairs[stem]
        marks = tuple(name for name in dir(layer) if name.startswith(("hada_", "lokr_")))
        own = {name: getattr(layer, name)[adapter] for name in marks if adapter in getattr(layer, name)}
        if own.keys() != held.shapes.keys():
            raise self._misfit(
                f"{stem} has {', '.join(sorted(held.shapes))}, and {', '.join(sorted(own))} are needed"
            )
        ratio = held.strength / float(layer.scaling[adapter])
        for name, parameter in own.items():
            value = self.tensors[f"{stem}.{name}"].float()
            if value.shape != parameter.shape:
                raise self._misfit(
                    f"{stem}.{name} is {list(value.shape)}, and {list(parameter.shape)} is needed"
                )
            if not torch.isfinite(value).all():
                raise UserError(f"{self.key}: {stem}.{name} is not finite", fix="name an earlier file")
            factor = ratio if name == STRONG[self.file.kind] else 1.0
            parameter.copy_(value if factor == 1.0 else value * factor)

    def _misfit(self, why: str) -> UserError:
        fix = "set kind, targets, rank, factor and text encoder as the file has them, or name another"
        return UserError(f"{self.key}: {self.file.path} does not fit this plan", why, fix)
