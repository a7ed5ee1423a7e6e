"""Shapes that are known without asking torch are those that torch gives; marked sizes tell what they grow with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.tracing.counting import Counter
from engine.tracing.marks import AREA, BATCH, COLUMNS, RANK, ROWS, term
from engine.tracing.shapes import RULES, result_of

aten = torch.ops.aten
META = torch.device("meta")


def _(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device=META)


MAPS, TOKENS, WIDE, WEIGHT = _(2, 8, 4, 4), _(2, 5, 8), _(8), _(8, 8)
CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.add.Tensor, (MAPS, MAPS)),
    (aten.mul.Tensor, (MAPS, MAPS)),
    (aten.mul.Tensor, (MAPS, _(2, 1, 4, 1))),
    (aten.mul.Tensor, (_(2, 8, 1, 4), _(1, 8, 4, 1))),
    (aten.mul.Tensor, (TOKENS, WIDE)),
    (aten.mul.Tensor, (WIDE, _(2, 5, 8, dtype=torch.bfloat16))),
    (aten.sub.Tensor, (_(8, 1, 1), MAPS)),
    (aten.div.Tensor, (MAPS, 2.0)),
    (aten.sub.Tensor, (MAPS, 1)),
    (aten.mm.default, (WEIGHT, WEIGHT)),
    (aten.addmm.default, (WIDE, WEIGHT, WEIGHT)),
    (aten.silu.default, (MAPS,)),
    (aten.silu_backward.default, (MAPS, MAPS)),
    (aten.gelu.default, (TOKENS,)),
    (aten.gelu_backward.default, (TOKENS, TOKENS)),
    (aten.native_group_norm.default, (MAPS, WIDE, WIDE, 2, 8, 16, 4, 1e-5)),
    (
        aten.native_group_norm_backward.default,
        (MAPS, MAPS, _(2, 4), _(2, 4), WIDE, 2, 8, 16, 4, [True, True, True]),
    ),
    (aten.native_layer_norm.default, (TOKENS, [8], WIDE, WIDE, 1e-5)),
    (
        aten.native_layer_norm_backward.default,
        (TOKENS, TOKENS, [8], _(2, 5, 1), _(2, 5, 1), WIDE, WIDE, [True, False, True]),
    ),
]


@pytest.mark.parametrize(
    ("func", "args"), CALLS, ids=lambda value: str(value) if not isinstance(value, tuple) else ""
)
def test_a_known_shape_is_torchs_own(func: Any, args: tuple[Any, ...]) -> None:
    ours, theirs = result_of(func, args), func(*args)
    ours, theirs = (value if isinstance(value, tuple) else (value,) for value in (ours, theirs))
    assert [_facts(value) for value in ours] == [_facts(value) for value in theirs]


def _facts(value: Tensor | None) -> object:
    return None if value is None or not value.numel() else (value.shape, value.dtype, value.stride())


def test_every_rule_is_compared_with_torch() -> None:
    assert {func for func, _ in CALLS} == set(RULES)


def test_other_shapes_are_left_to_torch() -> None:
    assert result_of(aten.add.Tensor, (MAPS.transpose(1, 3), WIDE)) is None
    assert result_of(aten.mul.Tensor, (MAPS, torch.empty((), device=META))) is None


@pytest.mark.parametrize(
    ("number", "powers", "value"),
    [
        (BATCH * AREA * 320 * 2, (1, 1, 0), 640.0),
        (BATCH * ROWS * COLUMNS * 1280, (1, 1, 0), 20.0),
        (BATCH * 77 * 768, (1, 0, 0), 77 * 768),
        (RANK * 320 * 4, (0, 0, 1), 1280),
        (BATCH * RANK * AREA, (1, 1, 1), 1.0),
        (1280 * 10240, (0, 0, 0), 1280 * 10240),
    ],
)
def test_a_size_says_what_it_grows_with(number: int, powers: tuple[int, int, int], value: float) -> None:
    found, coefficient = term(number)
    assert found == powers and coefficient == pytest.approx(value)


def test_what_is_freed_is_counted_as_gone() -> None:
    counter = Counter()
    with counter:
        first = _(BATCH, 4)
        second = first * 2
        del first
        third = second + 1
    sizes = [size for _, _, size in counter.events]
    assert sizes == [16.0, 16.0, -16.0, 16.0]
    del second, third
