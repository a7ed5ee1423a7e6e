"""Half a cosine down to 0 (Loshchilov and Hutter, arXiv:1608.03983, without restarts)."""

from __future__ import annotations

import math

from engine.plan.schedules.base import Schedule


def _factor(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


SCHEDULE = Schedule("cosine", _factor)
