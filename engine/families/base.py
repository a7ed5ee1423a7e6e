"""What the loop and the methods ask of a model family; a family never names a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.families.clip_text import TextReading
from engine.families.schedule import NoiseSchedule
from engine.models.family_spec import FamilySpec

Residuals = Mapping[str, Any]


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is told: `hidden` [b, tokens, width] and named extras, each [b, ...]."""

    hidden: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def map(self, change: Any) -> Conditioning:
        """The same conditioning with `change` applied to every tensor."""
        return Conditioning(change(self.hidden), {name: change(value) for name, value in self.extra.items()})

    def rows(self) -> dict[str, Tensor]:
        """Named tensors, as a cache keeps them."""
        return {"hidden": self.hidden, **self.extra}

    @classmethod
    def from_rows(cls, rows: Mapping[str, Tensor]) -> Conditioning:
        """The inverse of `rows`."""
        return cls(rows["hidden"], {name: value for name, value in rows.items() if name != "hidden"})

    @classmethod
    def joined(cls, conds: Sequence[Conditioning]) -> Conditioning:
        """One batch of them all; the tokens of shorter ones are written again until all have as many, which changes
        nothing of what attention makes of them."""
        tokens = math.lcm(*(cond.hidden.shape[1] for cond in conds))
        extra = {name: torch.cat([cond.extra[name] for cond in conds]) for name in conds[0].extra}
        hidden = [cond.hidden.repeat(1, tokens // cond.hidden.shape[1], 1) for cond in conds]
        return cls(torch.cat(hidden), extra)


ResidualsOf = Callable[[Tensor, Tensor, Conditioning], Residuals]
"""From noisy latents, timesteps and conditioning to the denoiser's extra inputs."""
Guided = Callable[[Tensor, Tensor], Tensor]
"""From noisy latents [b, c, h, w] and timesteps [b] to a prediction that guidance has led, in fp32."""


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels that some families condition on: original size, crop offset, target size."""

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


class ModelFamily(Protocol):
    """One loaded base model. `parts` are modules by diffusers' folder names.

    The hooks with a body are those that a family leaves as they are where its `spec.provides` lacks them.
    """

    spec: FamilySpec
    schedule: NoiseSchedule
    tokenizers: Mapping[str, Any]
    reading: TextReading = TextReading()
    configs: Mapping[str, Mapping[str, Any]]

    @property
    def parts(self) -> Mapping[str, nn.Module]: ...

    @property
    def denoiser(self) -> nn.Module: ...

    def encode_image(self, pixels_bchw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the scaled latents, each [b, c, h/f, w/f]; pixels are in [-1, 1]."""
        ...

    def decode_latents(self, latents_bchw: Tensor) -> Tensor:
        """Pixels in [-1, 1], [b, 3, h, w], of scaled latents."""
        ...

    def tokenize(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Token ids by text part, each [b, tokens], of as much of each caption as `reading` says."""
        ...

    def encode_text(self, ids: Mapping[str, Tensor]) -> Conditioning:
        """Embeddings of tokenised captions, differentiable in the text encoders' weights."""
        ...

    def with_geometry(self, cond: Conditioning, sizes: Sequence[Geometry]) -> Conditioning:
        """The conditioning with sizes and crops where the family uses them; else unchanged."""
        ...

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        """The denoiser's prediction, [b, c, h, w]."""
        ...

    def guided(
        self,
        prompt: Conditioning,
        negative: Conditioning,
        guidance: float,
        residuals: ResidualsOf | None,
        rescale: float = 0.0,
    ) -> Guided:
        """What a preview asks at each of its steps; `guidance` 1 turns guidance off, and `rescale` is the share in
        which its strength is brought back to that of the prompt alone, where guidance has one."""
        ...

    def lora_targets(self, part: str, role: str) -> list[str]:
        """Module paths within `part` that the role (attention, attention_ff, all) names."""
        ...

    def enable_gradient_checkpointing(self) -> None: ...

    def blocks_to_swap(self) -> Sequence[nn.Module]:
        """Modules of the denoiser that can live on the CPU until their turn, none of them inside another."""
        raise _lacks(self, "block swap")

    def renew_denoiser(self, widths: Sequence[int], seed: int) -> None:
        """Put an untrained denoiser of these widths, keyed by the seed, in the place of the base's own."""
        raise _lacks(self, "training from scratch")

    def predict(self, prediction: str, zero_terminal_snr: bool) -> None:
        """From now on the denoiser predicts this (epsilon or v_prediction), down to no signal at all if asked."""
        raise _lacks(self, "another prediction type")

    def attention_layers(self) -> Sequence[AttentionLayer]:
        """Every attention of the denoiser, in the order of its forward pass."""
        raise _lacks(self, "hypernetworks")

    def block_of(self, path: str) -> str:
        """The name of the denoiser's block that a module path lies in: IN00.., MID, OUT00.., or BASE."""
        ...

    def new_controlnet(self, channels: int) -> nn.Module:
        """A ControlNet whose encoder copies the denoiser's weights; its output layers are zero."""
        raise _lacks(self, "ControlNet")

    def controlnet_residuals(
        self, net: nn.Module, noisy: Tensor, timesteps: Tensor, cond: Conditioning, control_bchw: Tensor
    ) -> Residuals:
        """What `denoise` takes from a ControlNet; `control_bchw` is in [0, 1] at picture size."""
        raise _lacks(self, "ControlNet")

    def new_t2i_adapter(self, kind: str, channels: int) -> nn.Module:
        """A fresh T2I-Adapter of this kind (auto is the family's full one)."""
        raise _lacks(self, "T2I-Adapter")

    def t2i_residuals(self, net: nn.Module, control_bchw: Tensor) -> Residuals:
        """What `denoise` takes from a T2I-Adapter."""
        raise _lacks(self, "T2I-Adapter")


@dataclass(frozen=True)
class AttentionLayer:
    """One attention: its path in the denoiser, the module (to_q, to_k, to_v, to_out), whether it looks at the
    text, and the width of what to_k and to_v are given."""

    path: str
    module: nn.Module
    cross: bool
    width: int


def _lacks(family: ModelFamily, what: str) -> UserError:
    return UserError(
        f"{what} is not there for {family.spec.title}",
        "this family does not provide it",
        "choose another method or base model",
    )


def frozen(module: nn.Module) -> nn.Module:
    """The module in eval mode with no parameter asking for a gradient."""
    return module.eval().requires_grad_(False)


def module_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of the first floating-point parameter."""
    return next(value.dtype for value in module.parameters() if value.is_floating_point())
