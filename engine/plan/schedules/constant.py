"""The same learning rate all along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    return 1.0


SCHEDULE = Schedule("constant", "the same all along", _factor)
