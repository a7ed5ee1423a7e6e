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
    kind: Literal["lora", "loha", "lokr"] = option(
        "lora", "LoRA; LoHa (Hadamard product of two pairs); LoKr (Kronecker product, the smallest files)"
    )
    dropout: float = option(0.0, "share of the pair's inputs dropped while training", ge=0, lt=1)
    rank_dropout: float = option(
        0.0, "share of the change's rows dropped while training (LoHa, LoKr)", ge=0, lt=1, advanced=True
    )
    module_dropout: float = option(
        0.0, "share of adapted layers left out a step (LoHa, LoKr)", ge=0, lt=1, advanced=True
    )
    factor: int = option(
        -1, "LoKr: side of the small matrix; -1 takes near the square root", ge=-1, le=256, advanced=True
    )
    max_norm: float = option(
        0.0, "after each step a layer's change is scaled down to this norm; 0 is off", ge=0, advanced=True
    )
    block_ranks: list[str] = option(
        [], 'ranks a block, "OUT03=32" or "OUT03-08=8"; others have `rank`; the scale stays', advanced=True
    )
    block_rates: list[str] = option(
        [],
        'rates a block as factors, "OUT03=0.5", or 12, 17, 20 or 26 numbers in one text in the order of kohya\'s and '
        "A1111's block weights, or a preset (OUTALL); others are 1, 0 trains nothing",
        advanced=True,
    )
    rslora: bool = option(False, "scale by alpha / sqrt(rank): ranks above 32 learn better")
    dora: bool = option(False, "DoRA: magnitude and direction apart; loads in diffusers only")
    text_encoder: bool = option(False, "adapt the text encoder too")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder; none takes half of train.learning_rate", gt=0, le=10
    )
    merge_weight: float = option(
        1.0, "strength of the LoRA in the base, for the format merged", ge=-4, le=4, advanced=True
    )

    @property
    def trains_text(self) -> bool:
        return self.text_encoder

    def format_obstacle(self, name: str) -> str:
        # Only diffusers reproduces peft's output-axis DoRA; the readers of kohya files take another norm.
        if self.dora and name == "kohya":
            return "no reader of kohya files reproduces DoRA"
        if self.dora and name == "merged":
            return "DoRA's magnitudes cannot be merged with a weight"
        if self.kind != "lora" and name == "diffusers":
            return f"diffusers' file of pairs has no place for {self.kind}"
        return ""

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
    formats=("kohya", "diffusers", "merged"),
    default_formats=2,
)
