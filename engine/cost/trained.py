"""How many numbers train, for methods that add weights of their own to a frozen model; from configs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.cost.lora_counts import adapted, lora_parameters
from engine.models.layers import Layer
from engine.plan.methods.controlnet import ControlnetOptions
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.methods.textual_inversion import TextualInversionOptions
from engine.plan.schema import Plan

# Channels between a condition picture and the UNet's first level (diffusers' conditioning embedding).
CONDITION_WIDTHS = (16, 32, 96, 256)


def trained_parameters(
    plan: Plan,
    unet: Sequence[Layer],
    text: Sequence[Layer],
    config: Mapping[str, Any],
    text_width: int,
    family: str = "sd1",
) -> int:
    """Numbers that train; 0 for methods that train whole parts. `text_width` is all encoders' together."""
    options = plan.options
    if isinstance(options, LoraOptions):
        return lora_parameters(options, adapted(options, unet, text, config, family))
    if isinstance(options, TextualInversionOptions):
        return len(options.words(plan.data.trigger)) * options.vectors * text_width
    if isinstance(options, HypernetworkOptions):
        return _hypernetwork(options, unet)
    widths = [int(width) for width in config["block_out_channels"]]
    if isinstance(options, ControlnetOptions):
        return _controlnet(unet, widths, int(options.channels), layers=int(config.get("layers_per_block", 2)))
    if isinstance(options, T2iAdapterOptions):
        return _adapter(options, widths)
    return 0


def _hypernetwork(options: HypernetworkOptions, unet: Sequence[Layer]) -> int:
    """Two networks for each width of what keys and values are made from."""
    keys = [layer for layer in unet if layer.path.endswith(".to_k")]
    widths = {layer.inputs for layer in keys if layer.text or options.self_attention}
    return 2 * sum(
        int(width * before) * int(width * after) + int(width * after)
        for width in widths
        for before, after in pairwise(options.layer_structure)
    )


def _controlnet(unet: Sequence[Layer], widths: list[int], channels: int, layers: int) -> int:
    """The UNet's encoder and middle, its zero convolutions, and the condition's own; norms are left out."""
    copied = [layer for layer in unet if layer.path.startswith(("down_blocks", "mid_block"))]
    count = sum(layer.inputs * layer.outputs * layer.kernel**2 + layer.outputs for layer in copied)
    # One after the first convolution, one a layer, one a downsampler, and the middle's.
    outputs = [widths[0], *(width for width in widths for _ in range(layers)), *widths[:-1], widths[-1]]
    count += sum(width * width + width for width in outputs)
    inner = [channels, CONDITION_WIDTHS[0]]
    for width, wider in pairwise(CONDITION_WIDTHS):
        inner += [width, wider]
    count += sum(9 * before * after + after for before, after in pairwise([*inner, widths[0]]))
    time = 4 * widths[0]
    return count + widths[0] * time + time * time


def _adapter(options: T2iAdapterOptions, widths: list[int]) -> int:
    """Convolutions of diffusers' T2IAdapter: two blocks of a 3x3 and a 1x1 a level (light: four, a quarter wide)."""
    if options.kind == "light_adapter":
        levels = [*widths[:3], widths[2]]
        before = [int(options.channels) * 64, *levels]
        return sum(
            inputs * (width // 4) + 4 * 18 * (width // 4) ** 2 + (width // 4) * width
            for inputs, width in zip(before, levels, strict=False)
        )
    large = len(widths) == 3
    levels = [*widths, widths[-1]] if large else widths
    count = int(options.channels) * (256 if large else 64) * levels[0] * 9
    count += sum(before * after for before, after in pairwise(levels) if before != after)
    return count + sum(2 * 10 * width * width for width in levels)
