"""AdamW in 8 bit whose state moves between the GPU and main memory by pages, where the GPU is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.plan.optimizers.base import OptimizerSpec
from engine.plan.optimizers.bitsandbytes import PACKAGE, REQUIREMENT, blockwise
from engine.plan.problems import Problem, warning

if TYPE_CHECKING:
    from engine.plan.schema import Plan


def _contradictions(plan: Plan) -> Iterator[Problem]:
    if plan.hardware.device == "cpu":
        why = "hardware.device is cpu, which has no other memory to page to"
        yield warning("optimizer.name", "pages nothing on a CPU", why, 'set "adamw8bit"')


SPEC = OptimizerSpec(
    name="paged_adamw8bit",
    title="paged AdamW 8-bit",
    help="the same, and in main memory where the GPU is full",
    builder="engine.train.optimizers.paged_adamw8bit",
    state_bytes=blockwise(2),
    contradictions=_contradictions,
    package=PACKAGE,
    requirement=REQUIREMENT,
)
