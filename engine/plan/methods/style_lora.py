"""Style LoRA: a LoRA on the layers that carry style (or content), with a rate a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from engine.errors import UserError
from engine.models.blocks import carrying, parse_blocks
from engine.plan.fields import option
from engine.plan.methods import pivotal
from engine.plan.methods.base import MethodSpec
from engine.plan.methods.context import PlanContext
from engine.plan.methods.lora import FLAGS, LoraOptions, style_lesson
from engine.plan.problems import Problem, warning


class StyleLoraOptions(LoraOptions):
    """Options of method style_lora: LoRA's, and which blocks."""

    block_fields: ClassVar[tuple[str, ...]] = ("block_ranks", "block_rates", "block_weights")
    sizeless_fields: ClassVar[frozenset[str]] = LoraOptions.sizeless_fields | {"block_weights"}

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

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        yield from super().problems(ctx)
        if self.block_weights and (self.dora or self.kind != "lora"):
            why = "a weight scales the pair's product, which these kinds have none of"
            yield Problem("style_lora.block_weights", "go with plain LoRA only", why, "leave them out")

    def block_problems(self, table: str, family: str) -> Iterator[Problem]:
        yield from self._chosen_problems(family)
        yield from super().block_problems(table, family)

    def _chosen_problems(self, family: str) -> Iterator[Problem]:
        if self.layers != "blocks":
            if self.blocks:
                why = f'style_lora.layers is "{self.layers}"'
                yield warning("style_lora.blocks", "has no effect", why, 'set style_lora.layers = "blocks"')
            return
        try:
            if not parse_blocks(self.blocks, family):
                fix = 'give names such as "OUT03-08"'
                yield Problem("style_lora.blocks", "is empty", "no layer would train", fix)
        except UserError as error:
            yield Problem("style_lora.blocks", error.what, error.why, error.fix)

    def chosen_blocks(self, family: str) -> tuple[str, ...] | None:
        if self.layers != "blocks":
            return carrying(family, self.layers)
        try:
            return parse_blocks(self.blocks, family)
        except UserError:
            return None


SPEC = MethodSpec(
    name="style_lora",
    title="Style LoRA",
    goal="learn style only, from few pictures, by training only the layers that carry it",
    input="20 to 100 pictures; on SDXL one can be enough",
    output="a .safetensors LoRA with block weights",
    use="a director's look, lens effects, lighting, tone; strong for style",
    options=StyleLoraOptions,
    behaviour="engine.methods.style_lora:StyleLora",
    formats=("kohya", "diffusers", *pivotal.FORMATS, "merged"),
    default_formats=4,
    flags=FLAGS,
    typical_pictures=(20, 100),
    lesson=style_lesson(24, "a style, in the decoder's blocks alone"),
)
