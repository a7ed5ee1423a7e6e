"""Half a cosine down, again and again (SGDR: Loshchilov and Hutter, arXiv:1608.03983, with cycles of one length)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    # In whole numbers, so that the first update of a cycle has the full rate whatever a division rounds to.
    within = (done * train.cycles % span) / span
    return falling(0.5 * (1.0 + math.cos(math.pi * within)), train)


SCHEDULE = Schedule(
    "cosine_with_restarts",
    "down, and up again at once, several times",
    _factor,
    frozenset({"cycles", "end_share"}),
)
