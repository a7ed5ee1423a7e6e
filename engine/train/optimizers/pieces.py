"""An optimiser's step in pieces: one that memory has ended is gone on with, and weights whose gradients are there can
be stepped before others. No weight is stepped twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from engine.train.optimizers.rounding import Narrow

Piece = list[tuple[int, list[Tensor]]]
"""The numbers of groups, each with those of its weights that are stepped."""
# Numbers of weights that are fp32 at once where they lie in bf16: 64 MiB each of weights and gradients.
WIDENED = 1 << 24


class Pieces:
    """A piece is one group where the optimiser's groups know nothing of each other, else all of them; where weights or
    states lie in bf16, some of a group's weights.

    `done` counts the pieces of a step that memory has ended; it is 0 between two steps. `torn` says that a piece was
    left half done. Numbers of a group, such as a counter of steps, change once an update.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, by_group: bool, narrow: Narrow | None = None
    ) -> None:
        self.optimizer = optimizer
        self.by_group = by_group
        self.narrow = narrow
        self.done = 0
        self.torn = False
        self._before: list[dict[str, Any]] = []
        self._after: dict[int, dict[str, Any]] = {}
        self._places = places(optimizer)

    def step(self) -> None:
        """All pieces that are left. After OutOfMemoryError, unless `torn`, it may be called again with the same
        gradients."""
        for piece in self._all()[self.done :]:
            self.one(piece)
            self.done += 1
        self.finish()

    def part(self, parameters: Sequence[Tensor]) -> None:
        """Step these weights alone; `finish` ends the update that they are a part of."""
        self.one(by_groups(self._places, parameters))

    def finish(self) -> None:
        """The update is complete."""
        for at, after in self._after.items():
            self.optimizer.param_groups[at].update(after)
        self.done, self._before, self._after = 0, [], {}

    def one(self, piece: Piece) -> None:
        groups = self.optimizer.param_groups
        if not self._before:
            self._before = [numbers(group) for group in groups]
        alone = [{**groups[at], **copied(self._before[at]), "params": given} for at, given in piece]
        self.optimizer.param_groups = alone
        try:
            self._guarded([value for _, given in piece for value in given])
        finally:
            self.optimizer.param_groups = groups
        for (at, _), group in zip(piece, alone, strict=True):
            self._after[at] = numbers(group)

    def _all(self) -> list[Piece]:
        groups = [(at, list(group["params"])) for at, group in enumerate(self.optimizer.param_groups)]
        if not self.by_group:
            return [groups]
        if self.narrow is None:
            return [[group] for group in groups]
        return [[(at, some)] for at, given in groups for some in _limited(given)]

    def _guarded(self, parameters: list[Tensor]) -> None:
        state = self.optimizer.state
        fresh = [value for value in parameters if value not in state]
        with self.narrow.wide(parameters) if self.narrow is not None else nullcontext():
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


def places(optimizer: torch.optim.Optimizer) -> dict[Tensor, int]:
    """The number of its group for each weight."""
    return {value: at for at, group in enumerate(optimizer.param_groups) for value in group["params"]}


def by_groups(places: Mapping[Tensor, int], parameters: Sequence[Tensor]) -> Piece:
    """Some of the weights under the numbers of their groups."""
    found: dict[int, list[Tensor]] = {}
    for value in parameters:
        found.setdefault(places[value], []).append(value)
    return list(found.items())


def _limited(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    some: list[Tensor] = []
    for value in parameters:
        if some and sum(one.numel() for one in some) + value.numel() > WIDENED:
            yield some
            some = []
        some.append(value)
    if some:
        yield some


def numbers(group: dict[str, Any]) -> dict[str, Any]:
    """Copies of what a group keeps beside its weights and its rate."""
    return {name: copied(value) for name, value in group.items() if name not in ("params", "lr")}


def copied(value: Any) -> Any:
    """The same with tensors of its own."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: copied(entry) for name, entry in value.items()}
    return [copied(entry) for entry in value] if isinstance(value, list) else value
