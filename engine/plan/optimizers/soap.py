"""SOAP (Vyas et al., arXiv:2409.11321): AdamW along the axes that Shampoo finds."""

from __future__ import annotations

from math import prod

from engine.plan.optimizers.base import OptimizerSpec, Shape
from engine.plan.optimizers.pytorch_optimizer import PACKAGE, REQUIREMENT

LARGEST = 10_000
"""Sides above this keep their axes."""


def state_bytes(shape: Shape) -> int:
    """Two moments a number, and for each side up to LARGEST of what has two or more two square matrices."""
    squares = sum(side * side for side in shape if side <= LARGEST) if len(shape) > 1 else 0
    return 8 * prod(shape) + 8 * squares


SPEC = OptimizerSpec(
    name="soap",
    title="SOAP",
    help="fewer steps, much memory and time each",
    builder="engine.train.optimizers.soap",
    state_bytes=state_bytes,
    values={"optimizer.beta1": 0.95, "optimizer.beta2": 0.95},
    package=PACKAGE,
    requirement=REQUIREMENT,
)
