"""Adafactor with relative steps (Shazeer and Stern, arXiv:1804.04235): its rate follows from step and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.plan.optimizers.adafactor import state_bytes
from engine.plan.optimizers.base import OptimizerSpec
from engine.plan.problems import Problem

if TYPE_CHECKING:
    from engine.plan.schema import Plan


def _contradictions(plan: Plan) -> Iterator[Problem]:
    if plan.train.schedule != "constant":
        why = "its own rate falls with the square root of the steps"
        yield Problem(
            "train.schedule", f"{plan.train.schedule} on top of relative steps", why, 'set "constant"'
        )


SPEC = OptimizerSpec(
    name="adafactor_relative",
    title="Adafactor with relative steps",
    help="little memory, finds the learning rate itself",
    builder="engine.train.optimizers.adafactor_relative",
    state_bytes=state_bytes,
    learning_rate=1.0,
    learning_rate_why="relative steps are multiplied by it",
    values={"train.schedule": "constant"},
    unread=frozenset({"beta1", "beta2", "epsilon"}),
    contradictions=_contradictions,
)
