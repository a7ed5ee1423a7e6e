"""A straight line down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    return falling(1.0 - done / span, train)


SCHEDULE = Schedule("linear", "a straight line down", _factor, frozenset({"end_share"}))
