"""Which layers a LoRA, LoHa or LoKr adapts and how many numbers it trains there, from configs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Any

from engine.errors import UserError
from engine.models.blocks import carrying, parse_blocks, parse_values
from engine.models.keymap_unet import block_of, unet_module_map
from engine.models.layers import Layer, targeted
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.style_lora import StyleLoraOptions

Adapted = tuple[Layer, int]
"""A layer and its rank."""


def adapted(
    options: LoraOptions, unet: Sequence[Layer], text: Sequence[Layer], config: Mapping[str, Any], family: str
) -> list[Adapted]:
    """Every adapted layer; what the check will refuse (a block that is not there) counts as if it were not asked."""
    found = list(_in_unet(options, targeted(unet, options.targets), config, family))
    if options.text_encoder:
        found += [(layer, options.rank) for layer in targeted(text, options.targets)]
    return found


def lora_parameters(options: LoraOptions, layers: Sequence[Adapted]) -> int:
    """Both matrices of every pair and DoRA's magnitudes; LoHa's two pairs; LoKr's matrices."""
    if options.kind == "lokr":
        return sum(_lokr(layer, rank, options.factor) for layer, rank in layers)
    pairs = sum(layer.lora_parameters(rank) for layer, rank in layers) * (2 if options.kind == "loha" else 1)
    return pairs + (sum(layer.outputs for layer, _ in layers) if options.dora else 0)


def whole_changes(options: LoraOptions, layers: Sequence[Adapted]) -> int:
    """Numbers of the whole changes that LoHa and LoKr keep for the backward pass: those of layers whose input has a
    gradient, which a caption's embedding has not. LoRA never makes them."""
    if options.kind == "lora":
        return 0
    return sum(layer.inputs * layer.outputs * layer.kernel**2 for layer, _ in layers if not layer.text)


def _in_unet(
    options: LoraOptions, layers: Sequence[Layer], config: Mapping[str, Any], family: str
) -> Iterator[Adapted]:
    ranks = _values(options.block_ranks, family)
    style = options if isinstance(options, StyleLoraOptions) else None
    rates = _values(options.block_rates, family)
    if style is None and not ranks and not rates:
        yield from ((layer, options.rank) for layer in layers)
        return
    names = unet_module_map(config)
    chosen = _chosen(style, family) if style else None
    for layer in layers:
        block = block_of(names, layer.path)
        if (chosen is None or block in chosen) and rates.get(block, 1.0) > 0:
            yield layer, int(ranks.get(block, options.rank))


def _chosen(options: StyleLoraOptions, family: str) -> tuple[str, ...] | None:
    if options.layers != "blocks":
        return carrying(family, options.layers)
    try:
        return parse_blocks(options.blocks, family)
    except UserError:
        return None


def _values(entries: Sequence[str], family: str) -> dict[str, float]:
    try:
        return parse_values(entries, family) if entries else {}
    except UserError:
        return {}


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
