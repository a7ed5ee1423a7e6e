"""AdamW whose two moments lie in bf16 with stochastic rounding: half of the state."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec, elementwise

SPEC = OptimizerSpec(
    name="adamw_bf16",
    title="AdamW with bf16 states",
    help="AdamW with half of its state",
    builder="engine.train.optimizers.adamw_bf16",
    state_bytes=elementwise(4),
)
