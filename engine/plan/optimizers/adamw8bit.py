"""AdamW whose two moments take 8 bit each (Dettmers et al., arXiv:2110.02861)."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec
from engine.plan.optimizers.bitsandbytes import PACKAGE, REQUIREMENT, blockwise

SPEC = OptimizerSpec(
    name="adamw8bit",
    title="AdamW 8-bit",
    help="AdamW with a quarter of its state",
    builder="engine.train.optimizers.adamw8bit",
    state_bytes=blockwise(2),
    package=PACKAGE,
    requirement=REQUIREMENT,
)
