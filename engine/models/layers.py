"""The layers that a LoRA may adapt: names, shapes, resolutions; those of a CLIP text encoder from its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["attention", "ff", "conv"]
ROLES: dict[str, tuple[Role, ...]] = {
    "attention": ("attention",),
    "attention_ff": ("attention", "ff"),
    "all": ("attention", "ff", "conv"),
}


@dataclass(frozen=True)
class Layer:
    """One Linear or Conv2d.

    `level` counts the halvings of the latent's sides before its output; -1 means one vector a picture.
    `text` marks projections of the caption's tokens.
    """

    path: str
    role: Role
    inputs: int
    outputs: int
    kernel: int = 1
    level: int = 0
    text: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its weight."""
        return (self.outputs, self.inputs, *((self.kernel, self.kernel) if self.role == "conv" else ()))

    def lora_parameters(self, rank: int) -> int:
        """A is [rank, inputs, kernel, kernel], B is [outputs, rank, 1, 1] (a Linear has no kernel axes)."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)

    def output_elements(self, latent_area: int, tokens: int = 77) -> float:
        """Numbers in its output for one picture with that many latent pixels."""
        if self.text:
            return self.outputs * tokens
        return self.outputs * (1 if self.level < 0 else latent_area / 4**self.level)


def text_layers(config: Mapping[str, Any]) -> list[Layer]:
    """Those of the CLIPTextModel of this config."""
    # A config leaves out what is CLIPTextConfig's own default.
    width, inner = int(config.get("hidden_size", 512)), int(config.get("intermediate_size", 2048))
    found: list[Layer] = []
    for index in range(int(config.get("num_hidden_layers", 12))):
        block = f"text_model.encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found.append(Layer(f"{block}.self_attn.{name}", "attention", width, width, text=True))
        found.append(Layer(f"{block}.mlp.fc1", "ff", width, inner, text=True))
        found.append(Layer(f"{block}.mlp.fc2", "ff", inner, width, text=True))
    return found


def targeted(layers: Sequence[Layer], targets: str) -> list[Layer]:
    """The layers that lora.targets names."""
    return [layer for layer in layers if layer.role in ROLES[targets]]
