"""What a learning rate schedule is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.plan.problems import Problem

if TYPE_CHECKING:
    from engine.plan.train import Train


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    `factor(done, span, train)` gives what the learning rate is multiplied by at the update before which `done` of the
    `span` updates after the warm-up lie: 0 at the first of them, span - 1 at the last.
    """

    name: str
    help: str
    """A few words, for the list of choices."""
    factor: Callable[[int, int, Train], float]
    reads: frozenset[str] = frozenset()
    """Fields of the plan's table [train] that this schedule reads and others may not."""
    problems: Callable[[Train], Iterable[Problem]] = lambda train: ()
    """What is wrong with those fields."""


def falling(share: float, train: Train) -> float:
    """`share`, which falls from 1 to 0, as one that falls from 1 to the plan's lowest share of the rate."""
    return share * (1.0 - train.end_share) + train.end_share
