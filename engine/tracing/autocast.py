"""CUDA's autocast on tensors without memory: the casts that torch's own makes on a GPU.

torch registers autocast for devices, and the meta device is none of them. The lists are those of
ATen/autocast_mode.h (a test compares them with the installed torch's), the copies of weights are kept as
`cached_cast` keeps them: of fp32 leaves that want a gradient, until the outermost context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from engine.tracing.attention import fused_attention

_LOWER = """
conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution prelu addmm addmv addr
matmul einsum mm mv linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot scaled_dot_product_attention
"""
_FP32 = """
acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus layer_norm
native_layer_norm rms_norm group_norm frobenius_norm nuclear_norm cosine_similarity poisson_nll_loss
cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss
margin_ranking_loss multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss
binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp upsample_nearest1d upsample_nearest2d
upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
"""
LOWER, FP32 = frozenset(_LOWER.split()), frozenset(_FP32.split())
FP32_RESULT = frozenset(
    {"prod", "softmax", "log_softmax", "cumprod", "cumsum", "linalg_vector_norm", "linalg_matrix_norm", "sum"}
)
"""These give fp32 of half inputs without a copy of those, unless they are asked for another dtype."""
# What Python calls them where that is not torch's own name.
_OTHER_NAMES = {
    "rmatmul": "matmul",
    "rpow": "pow",
    "interpolate": "upsample_nearest2d",
    "vector_norm": "norm",
}

Copied = Callable[[], AbstractContextManager[None]]
"""Entered around the copy of a trained weight."""


class CudaAutocast(TorchFunctionMode):
    """Casts within `on`, where attention is also the fused kernel."""

    def __init__(self, dtype: torch.dtype | None, copied: Copied = nullcontext) -> None:
        """`dtype` none never casts."""
        super().__init__()
        self.dtype = dtype
        self._copied = copied
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """The step's autocast context, or one in which a part of it is computed again."""
        try:
            with self:
                yield
        finally:
            self._copies.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "").strip("_")
        name = _OTHER_NAMES.get(name, name)
        if self.dtype is not None:
            if name in LOWER:
                args, given = _each(self._lower, args), _each(self._lower, given)
            elif name in FP32:
                args, given = _each(_raise, args), _each(_raise, given)
            elif name in FP32_RESULT and given.get("dtype") is None:
                given = self._with_result(args, given)
        if name == "scaled_dot_product_attention":
            return fused_attention(*args[:3])
        return func(*args, **given)

    def _with_result(self, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        first = args[0] if args else None
        half = isinstance(first, Tensor) and first.dtype in (torch.float16, torch.bfloat16)
        return {**given, "dtype": torch.float32} if half else given

    def _lower(self, value: Any) -> Any:
        assert self.dtype is not None
        if not _floating(value) or value.dtype == self.dtype:
            return value
        if not (value.requires_grad and value.is_leaf and value.dtype == torch.float32):
            return value.to(self.dtype)
        known = self._copies.get(id(value))
        if known is None:
            with self._copied():
                known = self._copies[id(value)] = value, value.to(self.dtype)
        return known[1]


def _each(cast: Callable[[Any], Any], value: Any) -> Any:
    """Every tensor in these arguments; torch's own tree_map takes a twentieth of a trace for the same."""
    if isinstance(value, tuple | list):
        return type(value)(_each(cast, item) for item in value)
    if isinstance(value, dict):
        return {name: _each(cast, item) for name, item in value.items()}
    return cast(value)


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _raise(value: Any) -> Any:
    return value.float() if _floating(value) else value
