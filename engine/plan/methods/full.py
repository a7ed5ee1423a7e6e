"""Full fine-tuning: every weight of the UNet, and of the text encoders where asked."""

from __future__ import annotations

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec


class FullOptions(MethodOptions):
    """Options of method full."""

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


SPEC = MethodSpec(
    name="full",
    title="Full fine-tuning",
    goal="retrain UNet and text encoder for the largest adaptation",
    input="thousands of pictures with captions, a GPU with 24 GB or more, time",
    output="a whole new model: one .safetensors file and a diffusers folder",
    use="a domain or a data set of one's own; heavy",
    options=FullOptions,
    formats=("single_file", "diffusers_folder"),
    default_formats=2,
    typical_pictures=(1000, 100_000),
)
