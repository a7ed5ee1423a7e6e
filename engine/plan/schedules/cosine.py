"""Half a cosine down (Loshchilov and Hutter, arXiv:1608.03983, without restarts)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    return falling(0.5 * (1.0 + math.cos(math.pi * (done / span))), train)


SCHEDULE = Schedule("cosine", "half a cosine down", _factor, frozenset({"end_share"}))
