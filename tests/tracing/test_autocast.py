"""CUDA's autocast on tensors without memory: torch's own lists, copies once, fp32 where torch has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.tracing.autocast import FP32, FP32_RESULT, LOWER, CudaAutocast

META = torch.device("meta")
HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
# Of torch's list, what Python does not call by that name, or no model of ours could.
LEFT_OUT = {"_convolution", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm_cell", "gru_cell", "rnn_tanh_cell",
            "rnn_relu_cell", "_scaled_dot_product_flash_attention", "_upsample_nearest_exact1d",
            "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa"}  # fmt: skip


@pytest.mark.parametrize(
    ("macro", "ours"),
    [("LOWER_PRECISION_FP", LOWER), ("FP32", FP32), ("FP32_SET_OPT_DTYPE", FP32_RESULT)],
)
def test_the_lists_are_those_of_the_installed_torch(macro: str, ours: frozenset[str]) -> None:
    if not HEADER.exists():
        pytest.skip("this torch comes without its headers")
    body = re.search(rf"#define AT_FORALL_{macro}\(_\)(.*?)\n\n", HEADER.read_text(), re.S)
    assert body is not None
    theirs = set(re.findall(r"_\((\w+)", body.group(1)))
    assert theirs - LEFT_OUT == ours


def test_a_trained_weight_is_copied_once_and_a_norm_is_fp32() -> None:
    copies: list[int] = []

    @contextmanager
    def copied() -> Iterator[None]:
        copies.append(1)
        yield

    casts = CudaAutocast(torch.bfloat16, copied)
    layer, norm = nn.Linear(4, 4, device=META), nn.LayerNorm(4, device=META)
    given = torch.empty(2, 4, device=META)
    with casts.on():
        first = layer(given)
        assert first.dtype is torch.bfloat16 and layer(first).dtype is torch.bfloat16
        assert norm(first).dtype is torch.float32
        assert functional.mse_loss(first, first).dtype is torch.float32
        assert first.softmax(-1).dtype is torch.float32
        assert functional.silu(first).dtype is torch.bfloat16
    assert len(copies) == 2  # weight and bias
    with casts.on():
        layer(given)
    assert len(copies) == 4
    assert layer(given).dtype is torch.float32


def test_attention_keeps_no_map_of_all_pairs() -> None:
    query = torch.empty(2, 4, 1000, 8, device=META, dtype=torch.bfloat16, requires_grad=True)
    kept: list[int] = []

    def pack(value: torch.Tensor) -> torch.Tensor:
        kept.append(value.numel())
        return value

    with (
        CudaAutocast(torch.bfloat16).on(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value),
    ):
        out = functional.scaled_dot_product_attention(query, query, query)
    assert out.shape == query.shape and max(kept) == query.numel()
    torch.autograd.backward([out.sum()])
    assert query.grad is not None and query.grad.shape == query.shape
