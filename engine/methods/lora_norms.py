"""How large a LoRA's change has become, layer by layer, without making a matrix as large as the layer where that is
possible."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from engine.families.base import ModelFamily
from engine.methods.oft import Rotated, beyond_identity


@torch.no_grad()
def norms_by_block(family: ModelFamily, adapter: str) -> dict[str, float]:
    """The Frobenius norm of all changes in each block of the denoiser and in each text encoder, as "norm IN04".

    LoRA's change is scale BA (DoRA's before its magnitudes), LoHa's and LoKr's their products, OFT's R - I.
    """
    squares: dict[str, list[Tensor]] = {}
    for part in (family.spec.denoiser, *family.spec.text_parts):
        for path, layer in family.parts[part].named_modules():
            for square in _squared(layer, adapter):
                place = family.block_of(path) if part == family.spec.denoiser else part
                squares.setdefault(f"norm {place}", []).append(square.double())
    return {name: math.sqrt(float(torch.stack(found).sum())) for name, found in sorted(squares.items())}


def _squared(layer: nn.Module, adapter: str) -> Iterator[Tensor]:
    """The squared norm of the change that an adapter makes of this layer; none where it makes none."""
    own: Any = layer
    if isinstance(layer, Rotated):
        yield beyond_identity(layer.oft_blocks).square().sum()
    elif adapter in getattr(own, "lora_A", ()):
        down, up = own.lora_A[adapter].weight.flatten(1), own.lora_B[adapter].weight.flatten(1)
        # |BA|^2 = sum((B'B) * (AA')): two small matrices.
        yield ((up.T @ up) * (down @ down.T)).sum() * float(own.scaling[adapter]) ** 2
    elif adapter in getattr(own, "hada_w1_a", ()):
        first = own.hada_w1_a[adapter] @ own.hada_w1_b[adapter]
        second = own.hada_w2_a[adapter] @ own.hada_w2_b[adapter]
        yield (first * second).square().sum() * float(own.scaling[adapter]) ** 2
    elif hasattr(own, "lokr_w1") and hasattr(own, "scaling") and adapter in own.scaling:
        # |A kron B| = |A| |B|.
        yield _factor(own, "lokr_w1", adapter) * _factor(own, "lokr_w2", adapter) * own.scaling[adapter] ** 2


def _factor(layer: Any, name: str, adapter: str) -> Tensor:
    """The squared norm of one of LoKr's factors, which is a matrix or a product of two."""
    whole = getattr(layer, name)
    if adapter in whole:
        found: Tensor = whole[adapter].square().sum()
        return found
    left, right = getattr(layer, f"{name}_a")[adapter], getattr(layer, f"{name}_b")[adapter]
    product: Tensor = (left @ right).square().sum()
    return product
