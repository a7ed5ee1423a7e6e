"""The same learning rate all along."""

from __future__ import annotations

from engine.plan.schedules.base import Schedule


def _factor(done: float) -> float:
    return 1.0


SCHEDULE = Schedule("constant", _factor)
