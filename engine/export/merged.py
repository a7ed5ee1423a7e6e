"""A LoRA merged into its base model with a chosen weight: one `.safetensors` file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import TRAINED, Exported, ExportRequest, check_request
from engine.export.lora import is_dora, pairs_of
from engine.export.lycoris import changes_of, kind_of
from engine.export.single_file_format import SingleFileFormat
from engine.export.whole_model import OPENS_IN, no_table, whole_model
from engine.methods.artifact import Artifact
from engine.methods.oft import beyond_identity

Change = Callable[[Tensor], Tensor]
"""From a module's weight in the base, in fp32, to what it changes by, with as many numbers."""


class MergedFormat(SingleFileFormat):
    """The base's weights plus weight x change, in fp32, then as the asked dtype."""

    def write(self, request: ExportRequest) -> Exported:
        check_request(self, request)
        weight = float(cast(float, request.artifact.facts.get("merge_weight", 1.0)))
        base = whole_model(replace(request, artifact=Artifact("full", {}, {})))
        parts = {part: dict(state) for part, state in base.parts.items()}
        for path, change in changes(request.artifact).items():
            part, _, module = path.partition(".")
            name = f"{module}.weight"
            old = parts[part][name].float()
            parts[part][name] = old + weight * change(old).reshape(old.shape)
        return self.write_model(request, replace(base, parts=parts))


def changes(artifact: Artifact) -> dict[str, Change]:
    """What each adapted module's weight changes by, by "PART.MODULE"."""
    if kind_of(artifact) == "oft":
        return {
            f"{one.part}.{one.module}": partial(_turned, one.tensors["oft_blocks"])
            for one in changes_of(artifact)
        }
    return {path: partial(_added, delta) for path, delta in deltas(artifact).items()}


def _added(delta: Tensor, old: Tensor) -> Tensor:
    return delta


def _turned(blocks: Tensor, old: Tensor) -> Tensor:
    turned = torch.einsum("knm,kni->kmi", beyond_identity(blocks), old.reshape(*blocks.shape[:2], -1))
    return turned.reshape(old.shape)


def deltas(artifact: Artifact) -> dict[str, Tensor]:
    """What each adapted module adds to the weight, fp32, with as many numbers, by "PART.MODULE"."""
    if is_dora(artifact):
        raise UserError(
            "a DoRA is not merged",
            why="its magnitudes replace the weights' norms, so a weight of its own has no meaning",
            fix="export it with --format diffusers, and merge it there",
        )
    if kind_of(artifact) != "lora":
        return {f"{one.part}.{one.module}": _product(one.tensors) for one in changes_of(artifact)}
    return {
        f"{pair.part}.{pair.module}": pair.scale * (pair.up.flatten(1) @ pair.down.flatten(1))
        for pair in pairs_of(artifact)
    }


def _product(tensors: dict[str, Tensor]) -> Tensor:
    # The trained strength is in the tensors already.
    if "hada_w1_a" in tensors:
        left = tensors["hada_w1_a"] @ tensors["hada_w1_b"]
        return left * (tensors["hada_w2_a"] @ tensors["hada_w2_b"])
    second = tensors["lokr_w2"] if "lokr_w2" in tensors else tensors["lokr_w2_a"] @ tensors["lokr_w2_b"]
    first = tensors["lokr_w1"]
    # A whole second matrix of a convolution has its kernel's axes; the first one has none.
    return torch.kron(first[..., None, None] if second.dim() == 4 else first, second)


FORMAT = MergedFormat(
    name="merged",
    title="merged single-file model",
    extension=".safetensors",
    kind="lora",
    families=TRAINED,
    opens_in=OPENS_IN,
    compose=no_table,
)
