"""AdamW (Loshchilov and Hutter, arXiv:1711.05101): two moments a number."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec, elementwise

SPEC = OptimizerSpec(
    name="adamw",
    title="AdamW",
    help="the usual choice",
    builder="engine.train.optimizers.adamw",
    state_bytes=elementwise(8),
)
