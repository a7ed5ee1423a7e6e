"""Schedule-Free AdamW (Defazio et al., arXiv:2405.15682): an average of the weights in the place of a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.plan.optimizers.base import OptimizerSpec, elementwise
from engine.plan.problems import Problem

if TYPE_CHECKING:
    from engine.plan.schema import Plan


def _contradictions(plan: Plan) -> Iterator[Problem]:
    if plan.train.schedule != "constant":
        why = "it averages the weights, which does what a falling rate is for"
        yield Problem("train.schedule", f"{plan.train.schedule} with Schedule-Free", why, 'set "constant"')
    if plan.train.ema:
        why = "its own average is what is drawn and exported"
        yield Problem("train.ema", f"{plan.train.ema:g} averages an average", why, "set 0")
    if not plan.optimizer.beta1:
        why = "the average is found by dividing by it"
        yield Problem("optimizer.beta1", "0 does not go with Schedule-Free", why, "set 0.9")


SPEC = OptimizerSpec(
    name="schedule_free",
    title="Schedule-Free AdamW",
    help="needs no schedule, averages the weights",
    builder="engine.train.optimizers.schedule_free",
    # The second moment, and the weights as they are without the average.
    state_bytes=elementwise(8),
    rates=(1.0, 10.0),
    rates_source="1 to 10 times AdamW's rate: the README of schedulefree",
    values={"train.schedule": "constant", "train.ema": 0.0},
    alone=False,
    contradictions=_contradictions,
    package="schedulefree",
    requirement="schedulefree>=1.4.1,<2",
)
