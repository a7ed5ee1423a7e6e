"""The shorter way through peft's LoRA layers; see `engine.train.direct_forward`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft.tuners.lora import layer as lora
from torch import Tensor, nn


class Linear(lora.Linear):  # type: ignore[misc]
    """LoRA beside a linear layer."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [..., in] to [..., out]."""
        if self.disable_adapters or self.merged or args or kwargs:
            return cast(Tensor, super().forward(x, *args, **kwargs))
        name = self.active_adapters[0]
        result = self.base_layer(x)
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        change = F.linear(F.linear(_as_autocast_will(x, down), down), up)
        return _sum(result, change, self.scaling[name])

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether the layer's settings leave this way only."""
        return _plain_lora(layer)


class Conv2d(lora.Conv2d):  # type: ignore[misc]
    """LoRA beside a convolution."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [b, in, h, w] to [b, out, h', w']."""
        if self.disable_adapters or self.merged or args or kwargs:
            return cast(Tensor, super().forward(x, *args, **kwargs))
        name = self.active_adapters[0]
        result = self.base_layer(x)
        down = self.lora_A[name]
        change = self.lora_B[name](down(_as_autocast_will(x, down.weight)))
        return _sum(result, change, self.scaling[name])

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether the layer's settings leave this way only."""
        return _plain_lora(layer)


LAYERS: Mapping[type, Any] = {lora.Linear: Linear, lora.Conv2d: Conv2d}
"""Of each class the one that goes the shorter way."""


def _plain_lora(layer: Any) -> bool:
    """Whether one adapter is beside the layer that drops nothing and has no form of its own (DoRA), and nobody listens
    in on, as dropout of ranks does."""
    names = layer.active_adapters
    if len(names) != 1 or names[0] not in layer.lora_A or layer.lora_variant or layer.merged:
        return False
    own: list[Callable[..., Any]] = [layer.lora_A[names[0]], layer.lora_B[names[0]]]
    odd = any(cast(Any, each).bias is not None or cast(Any, each)._forward_hooks for each in own)
    return not odd and isinstance(layer.lora_dropout[names[0]], nn.Identity)


def _as_autocast_will(x: Tensor, weight: Tensor) -> Tensor:
    """The input in the weight's dtype, but where autocast would take a wider one back at once."""
    # On the meta device the tracing casts as CUDA's autocast would; torch has none there to ask.
    if x.dtype == weight.dtype or (
        weight.dtype == torch.float32 and (x.is_meta or torch.is_autocast_enabled(x.device.type))
    ):
        return x
    return x.to(weight.dtype)


def _sum(result: Tensor, change: Tensor, scaling: float) -> Tensor:
    return (result + (change if scaling == 1 else change * scaling)).to(result.dtype)
