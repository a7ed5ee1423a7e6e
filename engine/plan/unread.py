"""Fields of a plan that its optimiser or its schedule does not read, so that forms need not ask for them."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schedules import SCHEDULES


def unread(optimizer: str, schedule: str) -> frozenset[str]:
    """Dotted keys; none for names that are in no table."""
    return frozenset(_keys(optimizer, schedule))


def _keys(optimizer: str, schedule: str) -> Iterator[str]:
    if optimizer in OPTIMIZERS:
        yield from (f"optimizer.{name}" for name in OPTIMIZERS[optimizer].unread)
    if schedule in SCHEDULES:
        of_some = {name for row in SCHEDULES.values() for name in row.reads}
        yield from (f"train.{name}" for name in of_some - SCHEDULES[schedule].reads)
