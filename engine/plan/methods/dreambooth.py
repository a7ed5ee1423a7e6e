"""DreamBooth: full training on a few pictures of one subject, with class pictures that keep the class."""

from __future__ import annotations

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec


class DreamboothOptions(MethodOptions):
    """Options of method dreambooth."""

    text_encoder: bool = option(False, "train the text encoder(s) too; better for faces, needs more memory")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder(s); none takes train.learning_rate", gt=0, le=10
    )

    @property
    def trains_text(self) -> bool:
        return self.text_encoder


SPEC = MethodSpec(
    name="dreambooth",
    title="DreamBooth",
    goal="teach the model one person, object or concept, called by a trigger word",
    input="4 to 30 pictures of the subject, a trigger word, and class pictures (made by the base where too few)",
    output="a personalised model: one .safetensors file and a diffusers folder",
    use="people, pets, objects, brands; strong, large files",
    options=DreamboothOptions,
    formats=("single_file", "diffusers_folder"),
    default_formats=2,
    typical_pictures=(4, 30),
    asks=("data.trigger", "data.class_prompt", "data.class_count", "data.class_path", "data.flip"),
)
