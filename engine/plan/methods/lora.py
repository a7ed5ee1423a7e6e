"""LoRA: low-rank pairs beside the base model's own weights."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec


class LoraOptions(MethodOptions):
    """Options of method lora."""

    rank: int = option(16, "width of the low-rank pair; more learns more and weighs more", ge=1, le=1024)
    alpha: float = option(16.0, "strength; the effective scale is alpha / rank", gt=0, le=65536)
    targets: Literal["attention", "attention_ff", "all"] = option(
        "attention", "layers: attention; with feed-forward and projections; with convolutions too"
    )
    dropout: float = option(0.0, "share of the pair's inputs dropped while training", ge=0, lt=1)
    rslora: bool = option(False, "scale by alpha / sqrt(rank): ranks above 32 learn better")
    dora: bool = option(False, "DoRA: magnitude and direction apart; loads in diffusers only")
    text_encoder: bool = option(False, "adapt the text encoder too")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder; none takes half of train.learning_rate", gt=0, le=10
    )

    @property
    def trains_text(self) -> bool:
        return self.text_encoder

    def format_obstacle(self, name: str) -> str:
        # Only diffusers reproduces peft's output-axis DoRA; the readers of kohya files take another norm.
        return "no reader of kohya files reproduces DoRA" if self.dora and name == "kohya" else ""

    @property
    def effective_scale(self) -> float:
        """What the trained pair is multiplied with: alpha/rank, or alpha/sqrt(rank) for rsLoRA."""
        return float(self.alpha / (self.rank**0.5 if self.rslora else self.rank))


SPEC = MethodSpec(
    name="lora",
    title="LoRA",
    goal="teach a style, a person, an object or a look without changing the base model",
    input="10 to 100 or more pictures; captions help",
    output="a light .safetensors file that plugs into the base model",
    use="styles, faces, clothing, objects, cinematic tones; the usual choice",
    options=LoraOptions,
    formats=("kohya", "diffusers"),
    default_formats=2,
)
