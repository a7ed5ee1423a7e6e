"""Style LoRA: a LoRA on the layers that carry style (or content), with a rate a block."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import option
from engine.plan.methods.base import MethodSpec
from engine.plan.methods.lora import LoraOptions


class StyleLoraOptions(LoraOptions):
    """Options of method style_lora: LoRA's, and which blocks."""

    layers: Literal["style", "content", "both", "blocks"] = option(
        "style",
        "blocks by what they carry (SDXL: content is OUT00, style is OUT01; SD 1.x and 2.x: style is OUT03-11, "
        "content the rest with attention); blocks takes the list in `blocks`",
    )
    blocks: list[str] = option(
        [], 'blocks for layers = blocks: "IN08", "OUT03-11", MID (IN00-11, OUT00-11; SDXL: to 08)'
    )
    block_weights: list[str] = option(
        [], "weights a block on export, written like block_rates; others are 1, 0 leaves out", advanced=True
    )


SPEC = MethodSpec(
    name="style_lora",
    title="Style LoRA",
    goal="learn style only, from few pictures, by training only the layers that carry it",
    input="20 to 100 pictures; on SDXL one can be enough",
    output="a .safetensors LoRA with block weights",
    use="a director's look, lens effects, lighting, tone; strong for style",
    options=StyleLoraOptions,
    formats=("kohya", "diffusers", "merged"),
    default_formats=2,
    typical_pictures=(20, 100),
)
