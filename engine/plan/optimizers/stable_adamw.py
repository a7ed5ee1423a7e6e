"""StableAdamW (Wortsman et al., arXiv:2304.13013): AdamW whose rate falls where gradients jump."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec, elementwise
from engine.plan.optimizers.pytorch_optimizer import PACKAGE, REQUIREMENT

SPEC = OptimizerSpec(
    name="stable_adamw",
    title="StableAdamW",
    help="slower where gradients jump, needs no clipping",
    builder="engine.train.optimizers.stable_adamw",
    state_bytes=elementwise(8),
    values={"optimizer.beta2": 0.99},
    package=PACKAGE,
    requirement=REQUIREMENT,
)
