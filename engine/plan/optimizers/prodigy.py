"""Prodigy (Mishchenko and Defazio, arXiv:2306.06101): AdamW that finds its learning rate by itself."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec, elementwise

SPEC = OptimizerSpec(
    name="prodigy",
    title="Prodigy",
    help="finds the learning rate itself",
    builder="engine.train.optimizers.prodigy",
    # Two moments, the weights at the start, and the sum that the distance is estimated from.
    state_bytes=elementwise(16),
    learning_rate=1.0,
    learning_rate_why="Prodigy multiplies its own estimate of the learning rate by it",
    alone=False,
    package="prodigyopt",
    requirement="prodigyopt>=1.1.2,<2",
)
