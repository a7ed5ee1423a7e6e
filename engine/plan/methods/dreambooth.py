"""DreamBooth: full training on a few pictures of one subject, with class pictures that keep the class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from engine.models.family_spec import FamilySpec
from engine.plan.fields import option
from engine.plan.methods.base import Lesson, MethodOptions, MethodSpec
from engine.plan.methods.context import PlanContext, unused_text_rate
from engine.plan.problems import Problem, warning


class DreamboothOptions(MethodOptions):
    """Options of method dreambooth."""

    sizeless_fields: ClassVar[frozenset[str]] = frozenset({"text_encoder_learning_rate"})

    text_encoder: bool = option(False, "train the text encoder(s) too; better for faces, needs more memory")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder(s); none takes train.learning_rate", gt=0, le=10
    )

    @property
    def trains_text(self) -> bool:
        return self.text_encoder

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        yield from unused_text_rate(ctx, self.text_encoder, self.text_encoder_learning_rate)
        data = ctx.plan.data
        if not data.triggers:
            why = "the subject would have no name of its own, and every prompt would call for it"
            fix = "set a rare word, for example 'zvx dog'"
            yield warning("data.trigger", "there is no trigger word", why, fix)
        if not data.class_pictures:
            why = (
                "the model may forget what others of that kind look like; faces need prior preservation most"
            )
            fix = "set data.class_prompt, and data.class_count = 200"
            yield warning("data.class_count", "no class pictures", why, fix)

    def whole_parts(self, family: FamilySpec) -> tuple[str, ...]:
        return (family.denoiser, *(family.text_parts if self.text_encoder else ()))


SPEC = MethodSpec(
    name="dreambooth",
    title="DreamBooth",
    goal="teach the model one person, object or concept, called by a trigger word",
    input="4 to 30 pictures of the subject, a trigger word, and class pictures (made by the base where too few)",
    output="a personalised model: one .safetensors file and a diffusers folder",
    use="people, pets, objects, brands; strong, large files",
    options=DreamboothOptions,
    behaviour="engine.methods.dreambooth:Dreambooth",
    formats=("single_file", "diffusers_folder"),
    default_formats=2,
    typical_pictures=(4, 30),
    asks=("data.trigger", "data.class_prompt", "data.class_count", "data.class_path", "data.flip"),
    lighter="lora",
    lesson=Lesson(
        "subject",
        8,
        "a subject, the blim, while plain circles stay circles (prior preservation)",
        "blim",
        {
            "data.class_prompt": "a circle",
            "data.class_count": 32,
            "samples.prompts": [
                "a blim circle",
                "a blim circle on a black background",
                "a circle",
                "a red circle on a white background",
            ],
        },
    ),
)
