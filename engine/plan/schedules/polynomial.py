"""A power of what is left: 1 is a straight line, more falls faster at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    return falling(float((1.0 - done / span) ** train.power), train)


SCHEDULE = Schedule("polynomial", "fast at first, then slower", _factor, frozenset({"power", "end_share"}))
