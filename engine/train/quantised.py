"""Frozen linear layers that keep their weights in 8 or 4 bits, and give the gradient to what they are fed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Stored = Mapping[str, Tensor]
BLOCK = 64
"""Weights that share a scale in nf4, as QLoRA has it."""
FP8 = torch.float8_e4m3fn


@dataclass(frozen=True)
class Form:
    """How a weight [out, in] is kept, and how it is made again in a dtype."""

    store: Callable[[Tensor], Stored]
    restore: Callable[[Stored, torch.Size, torch.dtype], Tensor]


def _by_row(weight: Tensor, largest: float) -> Tensor:
    """The scale of each row, [out, 1] in fp32: its largest number comes to be `largest`."""
    return (weight.abs().amax(dim=1, keepdim=True) / largest).clamp(min=torch.finfo(torch.float32).tiny)


def _store_int8(weight: Tensor) -> Stored:
    scale = _by_row(weight, 127.0)
    return {"values": (weight / scale).round().to(torch.int8), "scale": scale}


def _store_fp8(weight: Tensor) -> Stored:
    scale = _by_row(weight, torch.finfo(FP8).max)
    return {"values": (weight / scale).to(FP8), "scale": scale}


def _restore_scaled(stored: Stored, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    # In fp32 first: a product of two rounded numbers would be rounded twice.
    return (stored["values"].float() * stored["scale"]).to(dtype)


def _store_nf4(weight: Tensor) -> Stored:
    from bitsandbytes.functional import quantize_4bit

    values, state = quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type="nf4")
    return {"values": values, "scale": state.absmax, "code": state.code}


def _restore_nf4(stored: Stored, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    state = QuantState(  # type: ignore[no-untyped-call]
        absmax=stored["scale"],
        shape=shape,
        code=stored["code"],
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=dtype,
    )
    return dequantize_4bit(stored["values"], state)


FORMS: Mapping[str, Form] = {
    "int8": Form(_store_int8, _restore_scaled),
    "fp8": Form(_store_fp8, _restore_scaled),
    "nf4": Form(_store_nf4, _restore_nf4),
}
"""int8 and fp8 (e4m3) with a scale a row; NF4 of QLoRA (Dettmers et al. 2023, arXiv:2305.14314) by bitsandbytes."""


class QuantisedLinear(nn.Linear):
    """A linear layer whose weight is made anew from few bits for each pass, forward and back, and not kept between.

    A layer becomes one where it stands (`take`), so that hooks and whoever holds it stay as they are. `weight` has
    shape and dtype and no numbers, for those who ask how large the layer is.
    """

    form: Form
    before_restoring: Callable[[], None] | None = None
    """Called before the weight is made anew, where what it is made of lives elsewhere."""
    shape: torch.Size
    dtype: torch.dtype

    @classmethod
    def take(cls, layer: nn.Linear, form: Form) -> None:
        """Make this frozen layer one that keeps its weight in that form."""
        weight = layer.weight.detach()
        stored = form.store(weight.float())
        del layer.weight
        layer.__class__ = cls
        own = cast(QuantisedLinear, layer)
        own.form, own.shape, own.dtype = form, weight.shape, weight.dtype
        for name, value in stored.items():
            own.register_buffer(f"quantised_{name}", value, persistent=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return torch.empty(self.shape, dtype=self.dtype, device="meta")

    def restored(self, dtype: torch.dtype) -> Tensor:
        """The weight as it is computed with, [out, in]."""
        if self.before_restoring is not None:
            self.before_restoring()
        stored = {
            name.removeprefix("quantised_"): value
            for name, value in self._buffers.items()
            if value is not None and name.startswith("quantised_")
        }
        return self.form.restore(stored, self.shape, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], in autocast's dtype where that is on."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return cast(Tensor, _Through.apply(x, self))  # type: ignore[no-untyped-call]


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return functional.linear(x, layer.restored(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.layer.restored(gradient.dtype), None


def quantise(module: nn.Module, paths: Collection[str], kind: str) -> int:
    """Keep the weights of the frozen linear layers at these paths in `kind`, one layer after the other; returns how
    many weights these are. A layer that an adapter has been put around is found inside it."""
    wanted, count = frozenset(paths), 0
    for path, layer in list(module.named_modules()):
        if path.removesuffix(".base_layer") not in wanted or type(layer) is not nn.Linear:
            continue
        if not any(value.requires_grad for value in layer.parameters()):
            count += layer.weight.numel()
            QuantisedLinear.take(layer, FORMS[kind])
    return count
