"""An optimiser's step in pieces, so that one which memory has ended is gone on with and nothing is stepped twice."""

from __future__ import annotations

import torch
from torch import Tensor


class Pieces:
    """A piece is one group where the optimiser's groups know nothing of each other, else all of them.

    `done` counts the pieces of a step that memory has ended; it is 0 between two steps. `torn` says that a piece was
    left half done.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, by_group: bool) -> None:
        self.optimizer = optimizer
        self.by_group = by_group
        self.done = 0
        self.torn = False

    def step(self) -> None:
        """All pieces that are left. After OutOfMemoryError, unless `torn`, it may be called again with the same
        gradients."""
        groups = self.optimizer.param_groups
        pieces = [[group] for group in groups] if self.by_group else [groups]
        try:
            for piece in pieces[self.done :]:
                self.optimizer.param_groups = piece
                self._one([value for group in piece for value in group["params"]])
                self.done += 1
        finally:
            self.optimizer.param_groups = groups
        self.done = 0

    def _one(self, parameters: list[Tensor]) -> None:
        state = self.optimizer.state
        fresh = [value for value in parameters if value not in state]
        before = self._changes(parameters)
        try:
            self.optimizer.step()
        except torch.OutOfMemoryError:
            # What was made in this step and not changed since counts as 0 changes, as what was not there before.
            self.torn = self._changes(parameters) != before
            for value in fresh:
                state.pop(value, None)
            raise

    def _changes(self, parameters: list[Tensor]) -> int:
        """How often weights and state were changed in place, as torch counts it. torch's fused kernels do not count,
        but the counters of steps that they raise first do."""
        state = self.optimizer.state
        kept = (entry for value in parameters if value in state for entry in state[value].values())
        found = sum(entry._version for entry in kept if isinstance(entry, Tensor))
        return found + sum(value._version for value in parameters)
