"""Full fine-tuning: every weight of the UNet, and of the text encoders where asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from engine.models.family_spec import FamilySpec
from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec
from engine.plan.methods.context import PlanContext, unused_text_rate
from engine.plan.methods.lora import style_lesson
from engine.plan.problems import Problem

BLOCK = re.compile(r"(IN|OUT)\d\d|MID|time|out")


class FullOptions(MethodOptions):
    """Options of method full."""

    sizeless_fields: ClassVar[frozenset[str]] = frozenset({"text_encoder_learning_rate"})

    text_encoder: bool = option(False, "train the text encoder(s) too")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder(s); none takes half of train.learning_rate", gt=0, le=10
    )
    freeze: list[str] = option(
        [], "UNet blocks that stay as they are: IN00.., MID, OUT00.., time, out", advanced=True
    )

    @property
    def trains_text(self) -> bool:
        return self.text_encoder

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        for name in self.freeze:
            if not BLOCK.fullmatch(name):
                why = "blocks are IN00 to IN11, MID, OUT00 to OUT11 (SDXL: to 08), time and out"
                yield Problem("full.freeze", f"{name!r} is no block of a UNet", why, "correct or remove it")
        yield from unused_text_rate(ctx, self.text_encoder, self.text_encoder_learning_rate)

    def whole_parts(self, family: FamilySpec) -> tuple[str, ...]:
        return (family.denoiser, *(family.text_parts if self.text_encoder else ()))


SPEC = MethodSpec(
    name="full",
    title="Full fine-tuning",
    goal="retrain UNet and text encoder for the largest adaptation",
    input="thousands of pictures with captions, a GPU with 24 GB or more, time",
    output="a whole new model: one .safetensors file and a diffusers folder",
    use="a domain or a data set of one's own; heavy",
    options=FullOptions,
    behaviour="engine.methods.full:Full",
    formats=("single_file", "diffusers_folder"),
    default_formats=2,
    typical_pictures=(1000, 100_000),
    lighter="lora",
    lesson=style_lesson(48, "a style, with every weight of the UNet and the text encoder"),
)
