"""Lion whose moment takes 8 bit (Chen et al., arXiv:2302.06675; Dettmers et al., arXiv:2110.02861)."""

from __future__ import annotations

from engine.plan.optimizers.base import OptimizerSpec
from engine.plan.optimizers.bitsandbytes import PACKAGE, REQUIREMENT, blockwise
from engine.plan.optimizers.lion import RATES, RATES_SOURCE, VALUES

SPEC = OptimizerSpec(
    name="lion8bit",
    title="Lion 8-bit",
    help="an eighth of AdamW's state",
    builder="engine.train.optimizers.lion8bit",
    state_bytes=blockwise(1),
    rates=RATES,
    rates_source=RATES_SOURCE,
    values=VALUES,
    unread=frozenset({"epsilon"}),
    package=PACKAGE,
    requirement=REQUIREMENT,
)
