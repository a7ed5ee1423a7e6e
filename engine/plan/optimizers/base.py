"""What is known of an optimiser without torch: what it costs, wants and rules out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from engine.plan.problems import Problem

if TYPE_CHECKING:
    from engine.plan.schema import Plan

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OptimizerSpec:
    """One row of the table. The module `builder` builds it; see `engine.train.optimizers.base`."""

    name: str
    title: str
    help: str
    """Three or four words, for the list of choices."""
    builder: str
    """The module with its `build` and `skip`; imported when training starts, never before."""
    state_bytes: Callable[[Shape], int]
    """Bytes of its state for a parameter of this shape."""
    learning_rate: float | None = None
    """The only learning rate that it takes; none leaves the choice to the plan."""
    learning_rate_why: str = ""
    rates: tuple[float, float] = (1.0, 1.0)
    """What the lowest and the highest rate of AdamW's recipes are multiplied by to get its own."""
    rates_source: str = ""
    values: Mapping[str, object] = field(default_factory=dict)
    """What a plan made for it has by dotted key, where AdamW's recipes have something else."""
    alone: bool = True
    """Does it step a weight without a look at others? Then it can be stepped in pieces, one weight after the other."""
    unread: frozenset[str] = frozenset()
    """Fields of the plan's table [optimizer] that it does not read."""
    contradictions: Callable[[Plan], Iterable[Problem]] = lambda plan: ()
    """What in a plan does not go with it beyond that: a schedule, an average, a precision."""
    package: str = ""
    """The module of an optional package that it needs."""
    requirement: str = ""
    """What pip is asked for to get that package."""


def rounded(rate: float) -> float:
    """A rate with one digit, as people write rates."""
    return float(f"{rate:.0e}")


def elementwise(width: int) -> Callable[[Shape], int]:
    """State of `width` bytes for each number of a parameter, whatever its shape."""
    return lambda shape: width * prod(shape)
