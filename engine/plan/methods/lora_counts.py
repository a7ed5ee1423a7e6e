"""How strong and how large the pairs of a LoRA and its kin are."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import TYPE_CHECKING

from engine.models.layers import Layer

if TYPE_CHECKING:
    from engine.plan.methods.lora import LoraOptions

Adapted = tuple[Layer, int]
"""A layer and its rank."""


def unit_alpha(rank: int, rslora: bool) -> float:
    """The alpha whose effective scale is 1: the rank, or its square root for rsLoRA (arXiv:2312.03732)."""
    return rank**0.5 if rslora else float(rank)


def parameters(options: LoraOptions, layers: Sequence[Adapted]) -> int:
    """Both matrices of every pair and DoRA's magnitudes; LoHa's two pairs; LoKr's matrices; OFT's blocks."""
    if options.kind == "lokr":
        return sum(_lokr(layer, rank, options.factor) for layer, rank in layers)
    if options.kind == "oft":
        return sum(layer.outputs * block_side(layer.outputs, rank) for layer, rank in layers)
    pairs = sum(layer.lora_parameters(rank) for layer, rank in layers) * (2 if options.kind == "loha" else 1)
    return pairs + (sum(layer.outputs for layer, _ in layers) if options.dora else 0)


def block_side(outputs: int, rank: int) -> int:
    """The side of OFT's blocks: the largest number up to the rank that divides the outputs."""
    return max(side for side in range(1, min(rank, outputs) + 1) if outputs % side == 0)


def _lokr(layer: Layer, rank: int, factor: int) -> int:
    out, into = _small(layer.outputs, factor), _small(layer.inputs, factor)
    rows, columns = layer.outputs // out, layer.inputs // into
    area = layer.kernel**2
    # The large matrix is a pair of its own only where that is smaller (LyCORIS, arXiv:2309.14859).
    whole = rank >= max(rows, columns) / 2
    return out * into + (rows * columns * area if whole else rank * (rows + columns * area))


def _small(side: int, factor: int) -> int:
    """LyCORIS' smaller factor of a side: `factor` where it divides it, else the largest divisor up to that and to
    the square root; -1 asks for the square root alone."""
    if factor > 0 and side % factor == 0:
        return factor
    most = isqrt(side) if factor <= 0 else min(factor, isqrt(side))
    return max(number for number in range(1, most + 1) if side % number == 0)
