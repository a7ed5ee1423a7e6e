"""One over the square root of the updates (Vaswani et al., arXiv:1706.03762); needs no end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule

if TYPE_CHECKING:
    from engine.plan.train import Train

# What transformers takes where there is no warm-up.
TIMESCALE = 10_000


def _factor(done: int, span: int, train: Train) -> float:
    scale = train.warmup or TIMESCALE
    return 1.0 / math.sqrt((done + scale) / scale)


SCHEDULE = Schedule("inverse_sqrt", "slower and slower, without an end", _factor)
