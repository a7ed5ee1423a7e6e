"""A straight line down to 0."""

from __future__ import annotations

from engine.plan.schedules.base import Schedule


def _factor(done: float) -> float:
    return 1.0 - done


SCHEDULE = Schedule("linear", _factor)
