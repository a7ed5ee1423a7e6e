"""T2I-Adapter: a small network that feeds a condition picture into the UNet's encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, Literal

from engine.models.file_table import FileTable
from engine.plan.fields import option
from engine.plan.methods.base import MethodSpec
from engine.plan.methods.conditions import CLASS_OBSTACLE, ConditionOptions, outline_lesson, start_problems
from engine.plan.methods.context import BaseShape, PlanContext
from engine.plan.problems import Problem


class T2iAdapterOptions(ConditionOptions):
    """Options of method t2i_adapter."""

    path_fields: ClassVar[tuple[str, ...]] = (*ConditionOptions.path_fields, "start")
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {"start": (".safetensors", ".pth")}
    sizeless_fields: ClassVar[frozenset[str]] = ConditionOptions.sizeless_fields | {"start"}

    start: str = option(
        "", "an existing T2I-Adapter (folder or file) to go on from; none begins with random weights"
    )
    kind: Literal["auto", "full_adapter", "full_adapter_xl", "light_adapter"] = option(
        "auto", "network; auto takes the family's full adapter"
    )

    def format_obstacle(self, name: str) -> str:
        # ComfyUI raises on light adapters under diffusers' names, and knows them by TencentARC's.
        if self.kind == "light_adapter" and name == "t2i_adapter":
            return "a light adapter in one file loads under TencentARC's names only"
        return ""

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        yield from super().problems(ctx)
        if self.start:
            yield from start_problems(
                self.start, "t2i_adapter", "T2I-Adapter", lambda table: self._misfit(table, ctx)
            )
        if ctx.family is None:
            return
        if self.kind not in ("auto", *ctx.family.t2i_kinds):
            what = f"{self.kind} does not fit {ctx.family.title}"
            why = "its features have other sizes than the levels of this UNet"
            yield Problem("t2i_adapter.kind", what, why, 'set it to "auto"')
        sides = set() if ctx.report is None else {side for size in ctx.report.buckets for side in size}
        grid = ctx.family.t2i_grid
        odd = sorted(side for side in sides if side % grid)
        if odd:
            what = f"pictures are trained with sides of {', '.join(map(str, odd))} px"
            why = f"this adapter folds {grid} x {grid} pixels into one place"
            yield Problem("data.resolution", what, why, f"set a multiple of {64} px")

    def _misfit(self, table: FileTable, ctx: PlanContext) -> str:
        """By what its first convolution takes: a square of pixels of each channel."""
        first = [
            shape[1]
            for name, shape in table.shapes.items()
            if name in ("conv_in.weight", "adapter.conv_in.weight")
        ]
        if not first or ctx.family is None:
            return ""
        grid, channels = ctx.family.t2i_grid, int(self.channels)
        if first[0] == channels * grid**2:
            return ""
        return f"it folds {first[0]} values into a place, and {grid} x {grid} pixels of {channels} channel(s) go there"

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        # Convolutions of diffusers' T2IAdapter: two blocks of a 3x3 and a 1x1 a level (light: four, a quarter wide).
        widths = [int(width) for width in shape.config["block_out_channels"]]
        if self.kind == "light_adapter":
            levels = [*widths[:3], widths[2]]
            first = [int(self.channels) * 64, *levels]
            return sum(
                inputs * (width // 4) + 4 * 18 * (width // 4) ** 2 + (width // 4) * width
                for inputs, width in zip(first, levels, strict=False)
            )
        large = len(widths) == 3
        levels = [*widths, widths[-1]] if large else widths
        count = int(self.channels) * (256 if large else 64) * levels[0] * 9
        count += sum(before * after for before, after in pairwise(levels) if before != after)
        return count + sum(2 * 10 * width * width for width in levels)


SPEC = MethodSpec(
    name="t2i_adapter",
    title="T2I-Adapter",
    goal="make the model obey a condition with a much smaller network than ControlNet",
    input="pairs: condition map and picture",
    output="an adapter file",
    use="depth, sketch, edge to picture; experimental, effective for stylisation and control",
    options=T2iAdapterOptions,
    behaviour="engine.methods.t2i_adapter:T2iAdapter",
    formats=("t2i_adapter", "t2i_adapter_folder", "t2i_adapter_tencent"),
    default_formats=3,
    requires=frozenset({"t2i_adapter"}),
    typical_pictures=(1000, 200_000),
    asks=(
        "t2i_adapter.condition",
        "t2i_adapter.condition_path",
        "t2i_adapter.condition_model",
        "data.trigger",
        "data.flip",
    ),
    class_obstacle=CLASS_OBSTACLE,
    lesson=outline_lesson(
        "t2i_adapter", "to draw the thing where a white outline on black says, with a smaller network"
    ),
)
