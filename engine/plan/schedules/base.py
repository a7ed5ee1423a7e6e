"""What a learning rate schedule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """One row of the table: `factor` gives what the learning rate is multiplied by where the share `done`, 0 to 1,
    of the updates after the warm-up lies behind."""

    name: str
    factor: Callable[[float], float]
