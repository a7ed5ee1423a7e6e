"""Adafactor (Shazeer and Stern, arXiv:1804.04235): the second moment as one row and one column a matrix."""

from __future__ import annotations

from math import prod

from engine.plan.optimizers.base import OptimizerSpec, Shape


def state_bytes(shape: Shape) -> int:
    """Factored over the last two dimensions, where there are two; and the root mean square of the weights."""
    numbers = prod(shape[:-1]) + prod(shape[:-2]) * shape[-1] if len(shape) > 1 else prod(shape)
    return 4 * numbers + 4


SPEC = OptimizerSpec(
    name="adafactor",
    title="Adafactor",
    help="little memory, for whole models",
    builder="engine.train.optimizers.adafactor",
    state_bytes=state_bytes,
    rates=(0.04, 1.0),
    rates_source="4e-7 beside AdamW's 1e-5 for whole SDXL: kohya's docs/train_SDXL-en.md",
    unread=frozenset({"beta1", "beta2", "epsilon"}),
)
