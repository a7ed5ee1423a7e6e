"""What of a frozen denoiser lives in the CPU's memory (hardware.swapped_blocks), counted from its table of layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from engine.models.layers import Layer
from engine.plan.schema import Plan

RESIDENT = 2
"""Swapped blocks that are on the device at a time: the one that computes and the one that follows."""
_BLOCK = re.compile(r"(.*\.(?:transformer_blocks|resnets)\.\d+)\.")


def swapped(plan: Plan, layers: Sequence[Layer], width: Callable[[Layer], float]) -> float:
    """Bytes that are not on the device; `width` gives the bytes of one of a layer's weights."""
    sizes: dict[str, float] = {}
    for layer in layers if plan.hardware.swapped_blocks else ():
        if found := _BLOCK.match(layer.path):
            weights = layer.inputs * layer.outputs * layer.kernel**2
            sizes[found[1]] = sizes.get(found[1], 0.0) + weights * width(layer)
    return sum(sorted(sizes.values(), reverse=True)[: plan.hardware.swapped_blocks][RESIDENT:])
