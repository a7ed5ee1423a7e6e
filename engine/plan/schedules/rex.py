"""REX (Chen, Wolfe and Kyrillidis, arXiv:2107.04197): high for long, and down at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    left = 1.0 - done / span
    return falling(left / (0.5 + 0.5 * left), train)


SCHEDULE = Schedule("rex", "high for long, down at the end", _factor, frozenset({"end_share"}))
