"""CAME (Luo et al., arXiv:2307.02047): Adafactor's rows and columns, weighed by how sure an update is."""

from __future__ import annotations

from math import prod

from engine.plan.optimizers.base import OptimizerSpec, Shape
from engine.plan.optimizers.pytorch_optimizer import PACKAGE, REQUIREMENT


def state_bytes(shape: Shape) -> int:
    """A moment a number, two rows and two columns a matrix, and the root mean square of the weights."""
    numbers = prod(shape)
    if len(shape) < 2:
        return 8 * numbers + 4
    return 4 * (numbers + 2 * (prod(shape[:-1]) + prod(shape[:-2]) * shape[-1])) + 4


SPEC = OptimizerSpec(
    name="came",
    title="CAME",
    help="half of AdamW's state, surer steps than Adafactor",
    builder="engine.train.optimizers.came",
    state_bytes=state_bytes,
    unread=frozenset({"epsilon"}),
    package=PACKAGE,
    requirement=REQUIREMENT,
)
