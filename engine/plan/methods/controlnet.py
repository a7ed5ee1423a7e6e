"""ControlNet: a copy of the UNet's encoder that makes the model obey a condition picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar

from engine.models.file_table import FileTable
from engine.plan.fields import option
from engine.plan.methods.base import MethodSpec
from engine.plan.methods.conditions import CLASS_OBSTACLE, ConditionOptions, outline_lesson, start_problems
from engine.plan.methods.context import BaseShape, PlanContext
from engine.plan.problems import Problem

# Channels between a condition picture and the UNet's first level (diffusers' conditioning embedding).
CONDITION_WIDTHS = (16, 32, 96, 256)


class ControlnetOptions(ConditionOptions):
    """Options of method controlnet."""

    path_fields: ClassVar[tuple[str, ...]] = (*ConditionOptions.path_fields, "start")
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {"start": (".safetensors", ".pth")}
    sizeless_fields: ClassVar[frozenset[str]] = ConditionOptions.sizeless_fields | {"start"}

    start: str = option(
        "", "an existing ControlNet (folder or file) to go on from; none copies the UNet's encoder"
    )

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        yield from super().problems(ctx)
        if self.start:
            config = ctx.denoiser_config
            yield from start_problems(
                self.start, "controlnet", "ControlNet", lambda table: _misfit(table, config)
            )

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        # The UNet's encoder and middle, its zero convolutions, and the condition's own; norms are left out.
        widths = [int(width) for width in shape.config["block_out_channels"]]
        layers = int(shape.config.get("layers_per_block", 2))
        copied = [layer for layer in shape.denoiser if layer.path.startswith(("down_blocks", "mid_block"))]
        count = sum(layer.inputs * layer.outputs * layer.kernel**2 + layer.outputs for layer in copied)
        # One after the first convolution, one a layer, one a downsampler, and the middle's.
        outputs = [widths[0], *(width for width in widths for _ in range(layers)), *widths[:-1], widths[-1]]
        count += sum(width * width + width for width in outputs)
        inner = [int(self.channels), CONDITION_WIDTHS[0]]
        for width, wider in pairwise(CONDITION_WIDTHS):
            inner += [width, wider]
        count += sum(9 * before * after + after for before, after in pairwise([*inner, widths[0]]))
        time = 4 * widths[0]
        return count + widths[0] * time + time * time


def _misfit(table: FileTable, config: Mapping[str, object]) -> str:
    """By the width of the text that its attention reads, and of its first convolution."""
    own, widths = config.get("cross_attention_dim"), config.get("block_out_channels")
    reads = [shape[1] for name, shape in table.shapes.items() if name.endswith("attn2.to_k.weight")]
    if reads and isinstance(own, int) and reads[0] != own:
        return f"its attention reads text of width {reads[0]}, and this base has {own}"
    first = [
        shape[0]
        for name, shape in table.shapes.items()
        if name == "conv_in.weight" or name.endswith("input_blocks.0.0.weight")
    ]
    if first and isinstance(widths, list | tuple) and first[0] != widths[0]:
        return f"its first convolution has {first[0]} channels, and this base {widths[0]}"
    return ""


SPEC = MethodSpec(
    name="controlnet",
    title="ControlNet",
    goal="make the model obey pose, depth or edges",
    input="pairs: condition map and picture, thousands of them; maps can be made from the pictures",
    output="a new ControlNet file",
    use="scenes with exact poses, sketches, depth; heavy, strong control",
    options=ControlnetOptions,
    behaviour="engine.methods.controlnet:Controlnet",
    formats=("controlnet", "controlnet_folder", "controlnet_ldm"),
    default_formats=2,
    requires=frozenset({"controlnet"}),
    typical_pictures=(1000, 200_000),
    asks=(
        "controlnet.condition",
        "controlnet.condition_path",
        "controlnet.condition_model",
        "data.trigger",
        "data.flip",
    ),
    class_obstacle=CLASS_OBSTACLE,
    notes=(
        "the condition takes hold suddenly, after 3,000 to 7,000 steps at batch 4; the loss does not show it",
    ),
    lighter="t2i_adapter",
    lesson=outline_lesson(
        "controlnet", "to draw the thing where a white outline on black says, and in its shape"
    ),
)
