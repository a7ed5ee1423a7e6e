"""Attention as the fused kernels do it: no map of all pairs, one number a row kept for the backward pass."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function


class _Fused(Function):
    """FlashAttention-2 (Dao 2023, arXiv:2307.08691), as aten's `_flash_attention_forward` and `_backward` keep it."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All [b, heads, tokens, width]."""
        out = torch.ops.sdtrain.attention(query, key, value)
        ctx.save_for_backward(query, key, value, *out)
        return cast(Tensor, out[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        query, key, value, out, rows = ctx.saved_tensors
        return tuple(torch.ops.sdtrain.attention_backward(grads[0], query, key, value, out, rows)[:3])


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[b, heads, tokens, width]; on the meta device only."""
    return cast(Tensor, _Fused.apply(query, key, value))  # type: ignore[no-untyped-call]


def _forward(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(query) if query.shape[-1] == value.shape[-1] else query.new_empty(value.shape)
    return out, query.new_empty(query.shape[:-1], dtype=torch.float32)


def _backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # The kernel adds up the query's gradient in fp32 before it rounds it.
    total = torch.empty_like(query, dtype=torch.float32)
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), total


_LIBRARY: Any = torch.library.Library("sdtrain", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("attention(Tensor query, Tensor key, Tensor value) -> (Tensor, Tensor)")
_LIBRARY.define(
    "attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, Tensor rows)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("attention", _forward, "Meta")
_LIBRARY.impl("attention_backward", _backward, "Meta")
FORWARD = torch.ops.sdtrain.attention.default
BACKWARD = torch.ops.sdtrain.attention_backward.default
