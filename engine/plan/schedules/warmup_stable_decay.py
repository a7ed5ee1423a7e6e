"""Warm-up, stable, decay: constant, then down over the last updates as 1 - sqrt (Hägele et al., arXiv:2405.18392)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.plan.schedules.base import Schedule, falling

if TYPE_CHECKING:
    from engine.plan.train import Train


def _factor(done: int, span: int, train: Train) -> float:
    decay = max(1, round(train.decay_share * span))
    return falling(1.0 - math.sqrt(max(0, done - (span - decay)) / decay), train)


SCHEDULE = Schedule(
    "warmup_stable_decay",
    "constant, then down over the last updates",
    _factor,
    frozenset({"decay_share", "end_share"}),
)
