"""The layers of Stable Diffusion's UNet, from its config alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.models.layers import Layer


def unet_layers(config: Mapping[str, Any]) -> list[Layer]:
    """Every layer that a LoRA may adapt in the UNet2DConditionModel of this config (unet/config.json)."""
    widths = [int(width) for width in config["block_out_channels"]]
    count = len(widths)
    depths = _per_block(config.get("transformer_layers_per_block", 1), count)
    layers = _per_block(config.get("layers_per_block", 2), count)
    build = _Unet(4 * widths[0], int(config["cross_attention_dim"]))
    found: list[Layer] = []
    before = widths[0]
    for at, kind in enumerate(config["down_block_types"]):
        name, width = f"down_blocks.{at}", widths[at]
        for index in range(layers[at]):
            found += build.resnet(f"{name}.resnets.{index}", before if index == 0 else width, width, at)
            if "CrossAttn" in kind:
                found += build.transformer(f"{name}.attentions.{index}", width, depths[at], at)
        if at < count - 1:
            found.append(Layer(f"{name}.downsamplers.0.conv", "conv", width, width, 3, at + 1))
        before = width
    last = count - 1
    found += build.resnet("mid_block.resnets.0", before, before, last)
    found += build.transformer("mid_block.attentions.0", before, depths[last], last)
    found += build.resnet("mid_block.resnets.1", before, before, last)
    return found + list(_up_blocks(build, config["up_block_types"], widths, layers, depths))


def _up_blocks(
    build: _Unet, kinds: Sequence[str], widths: list[int], layers: list[int], depths: list[int]
) -> Iterator[Layer]:
    count = len(widths)
    before = widths[-1]
    for at, kind in enumerate(kinds):
        mirror = count - 1 - at
        name, width, skip_last = f"up_blocks.{at}", widths[mirror], widths[max(mirror - 1, 0)]
        total = layers[mirror] + 1
        for index in range(total):
            skip = skip_last if index == total - 1 else width
            inputs = (before if index == 0 else width) + skip
            yield from build.resnet(f"{name}.resnets.{index}", inputs, width, mirror)
            if "CrossAttn" in kind:
                yield from build.transformer(f"{name}.attentions.{index}", width, depths[mirror], mirror)
        if at < count - 1:
            yield Layer(f"{name}.upsamplers.0.conv", "conv", width, width, 3, mirror - 1)
        before = width


def _per_block(value: int | Sequence[int], count: int) -> list[int]:
    return [int(value)] * count if isinstance(value, int) else [int(item) for item in value]


@dataclass(frozen=True)
class _Unet:
    time_width: int
    context: int

    def resnet(self, name: str, inputs: int, outputs: int, level: int) -> Iterator[Layer]:
        yield Layer(f"{name}.conv1", "conv", inputs, outputs, 3, level)
        yield Layer(f"{name}.time_emb_proj", "conv", self.time_width, outputs, 1, -1)
        yield Layer(f"{name}.conv2", "conv", outputs, outputs, 3, level)
        if inputs != outputs:
            yield Layer(f"{name}.conv_shortcut", "conv", inputs, outputs, 1, level)

    def transformer(self, name: str, width: int, depth: int, level: int) -> Iterator[Layer]:
        yield Layer(f"{name}.proj_in", "ff", width, width, 1, level)
        for index in range(depth):
            block = f"{name}.transformer_blocks.{index}"
            for attention, context in (("attn1", 0), ("attn2", self.context)):
                prefix = f"{block}.{attention}"
                yield Layer(f"{prefix}.to_q", "attention", width, width, 1, level)
                for letter in "kv":
                    inputs = context or width
                    yield Layer(f"{prefix}.to_{letter}", "attention", inputs, width, 1, level, bool(context))
                yield Layer(f"{prefix}.to_out.0", "attention", width, width, 1, level)
            # GEGLU: the first projection makes the 4x wide hidden layer and its gate.
            yield Layer(f"{block}.ff.net.0.proj", "ff", width, 8 * width, 1, level)
            yield Layer(f"{block}.ff.net.2", "ff", 4 * width, width, 1, level)
        yield Layer(f"{name}.proj_out", "ff", width, width, 1, level)
