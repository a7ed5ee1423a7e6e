"""Lion (Chen et al., arXiv:2302.06675): the sign of one moment."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec, elementwise

RATES = (0.1, 1 / 3)
RATES_SOURCE = "a rate 3 to 10 times below AdamW's, and as much more weight decay: arXiv:2302.06675"
VALUES = {"optimizer.beta2": 0.99, "optimizer.weight_decay": 0.05}

SPEC = OptimizerSpec(
    name="lion",
    title="Lion",
    help="one moment, half of AdamW's state",
    builder="engine.train.optimizers.lion",
    state_bytes=elementwise(4),
    rates=RATES,
    rates_source=RATES_SOURCE,
    values=VALUES,
    unread=frozenset({"epsilon"}),
)
