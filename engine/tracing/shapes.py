"""Results' shapes of the operations that a denoiser is made of.

torch works them out in Python on the meta device, with checks that take most of a trace: these take a third off it.
Each function gives none where its rule does not hold, and torch is asked. A test compares them with torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Result = Tensor | tuple[Tensor | None, ...] | None
aten = torch.ops.aten


def _product(bias: Any, one: Tensor, other: Tensor) -> Result:
    """Matrices of one dtype; a bias of the same dtype, if there is one."""
    if (
        one.dtype != other.dtype
        or one.ndim != 2
        or other.ndim != 2
        or (bias is not None and bias.dtype != one.dtype)
    ):
        return None
    return one.new_empty(one.shape[0], other.shape[1])


def _alike(*args: Any) -> Result:
    """An elementwise operation on tensors of one shape, dtype and layout, or on one and a number."""
    first = args[0]
    if len(args) == 2 and isinstance(args[1], float | int) and first.is_floating_point():
        return torch.empty_like(first)
    for other in args:
        if not isinstance(other, Tensor) or other.dtype != first.dtype or other.shape != first.shape:
            return _spread(*args)
    return torch.empty_like(first) if first.stride() == args[-1].stride() else None


def _spread(first: Tensor, other: Any, *more: Any) -> Result:
    """An elementwise operation on two plain tensors, of which sides of 1 are repeated."""
    if not isinstance(other, Tensor) or more:
        return None
    if not (first.is_contiguous() and other.is_contiguous() and first.numel() and other.numel()):
        return None
    if not (first.ndim and other.ndim):
        return None
    pairs = list(zip(reversed(first.shape), reversed(other.shape), strict=False))
    longer = max(first.shape, other.shape, key=len)
    sides = (*longer[: len(longer) - len(pairs)], *(max(pair) for pair in reversed(pairs)))
    return first.new_empty(sides, dtype=torch.promote_types(first.dtype, other.dtype))


def _group_norm(given: Tensor, weight: Any, bias: Any, batch: int, *rest: Any) -> Result:
    if given.dtype != torch.float32:
        return None
    rows = given.new_empty(batch, rest[2])
    return torch.empty_like(given), rows, torch.empty_like(rows)


def _group_norm_backward(
    grad: Tensor, given: Tensor, mean: Any, rstd: Any, weight: Any, *rest: Any
) -> Result:
    return _norm_gradients(given, weight, weight, rest[-1])


def _layer_norm(given: Tensor, shape: Any, *rest: Any) -> Result:
    if given.dtype != torch.float32 or not given.is_contiguous():
        return None
    rows = given.new_empty(*given.shape[: given.ndim - len(shape)], *(1 for _ in shape))
    return torch.empty_like(given), rows, torch.empty_like(rows)


def _layer_norm_backward(grad: Tensor, given: Tensor, shape: Any, mean: Any, rstd: Any, *rest: Any) -> Result:
    weight, bias, wanted = rest
    return _norm_gradients(given, weight, bias, wanted)


def _norm_gradients(given: Tensor, weight: Any, bias: Any, wanted: list[bool]) -> Result:
    if weight is None or bias is None or given.dtype != torch.float32:
        return None
    return tuple(
        torch.empty_like(like) if asked else None
        for like, asked in zip((given, weight, bias), wanted, strict=True)
    )


RULES: Mapping[Any, Callable[..., Result]] = {
    aten.mm.default: lambda one, other: _product(None, one, other),
    aten.addmm.default: _product,
    aten.add.Tensor: _alike,
    aten.sub.Tensor: _alike,
    aten.div.Tensor: _alike,
    aten.mul.Tensor: _alike,
    aten.silu.default: _alike,
    aten.silu_backward.default: _alike,
    aten.gelu.default: _alike,
    aten.gelu_backward.default: _alike,
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
}


def result_of(func: Any, args: tuple[Any, ...]) -> Result:
    """The operation's result without memory; none where torch is to be asked."""
    rule = RULES.get(func)
    if rule is None or not isinstance(args[0], Tensor) or not args[0].is_meta:
        return None
    return rule(*args)
