"""The processes that train one model together: which one this is, and how their gradients become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class World(Protocol):
    """Rank r of n takes the samples of slots r, r + n, r + 2n, ... of every step. Draws are keyed by slot, so n
    processes draw together what one would draw alone."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes the sum over all ranks, in place; the tensors have the same order on every rank."""
        ...


class OneProcess:
    """The world of a run that is alone."""

    rank = 0
    size = 1

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """The sum over one rank is what is there."""


ALONE: World = OneProcess()
