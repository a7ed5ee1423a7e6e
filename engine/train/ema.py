"""Averages of what trains: an exponential moving one kept in fp32 beside the weights, or the optimiser's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.methods.base import Trainable


class Average(Protocol):
    """What previews, exports and checkpoints ask of an average."""

    def state(self) -> dict[str, Tensor]: ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...

    def update(self, step: int) -> None: ...

    def averaged(self) -> AbstractContextManager[None]: ...


def average_of(
    trainables: Sequence[Trainable], optimizer: torch.optim.Optimizer, decay: float
) -> Average | None:
    """The average of a run: the plan's (`decay` above 0), or one that the optimiser keeps, or none."""
    if decay > 0:
        return Ema(trainables, decay)
    return OptimizerAverage(trainables, optimizer) if hasattr(optimizer, "eval") else None


class Ema:
    """Averages in fp32 with a warm-up: at update n the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage, so that early averages are not the initial weights."""

    def __init__(
        self, trainables: Sequence[Trainable], decay: float, averages: Mapping[str, Tensor] | None = None
    ) -> None:
        """Starts from the weights as they are, or from a checkpoint's averages by the trainables' names."""
        self.names = [item.name for item in trainables]
        self.parameters = [item.parameter for item in trainables]
        self.decay = decay
        self.shadow: list[Tensor] = [
            item.parameter.detach().to(torch.float32, copy=True) if averages is None else averages[item.name]
            for item in trainables
        ]

    def state(self) -> dict[str, Tensor]:
        """The averages by the trainables' names."""
        return dict(zip(self.names, self.shadow, strict=True))

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name, shadow in zip(self.names, self.shadow, strict=True):
            shadow.copy_(state[name])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update `step` (1-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        wide = all(value.dtype is torch.float32 for value in self.parameters)
        # Of weights in bf16 one at a time is widened.
        size = len(self.shadow) if wide else 1
        for at in range(0, len(self.shadow), size):
            weights = [value.data.float() for value in self.parameters[at : at + size]]
            torch._foreach_lerp_(self.shadow[at : at + size], weights, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # The tensors change places and nothing is copied: memory cannot run out half way.
        for at, value in enumerate(self.parameters):
            value.data, self.shadow[at] = self.shadow[at], value.data


class OptimizerAverage:
    """The average of an optimiser with two modes, `train()` and `eval()`, as Schedule-Free (Defazio et al.,
    arXiv:2405.15682): in eval mode the weights are the average. It is part of the optimiser's state.

    Going to eval mode and back is arithmetic that rounds, so the weights are kept meanwhile, on the host, and put back:
    a run with a preview more has the same bits.
    """

    def __init__(self, trainables: Sequence[Trainable], optimizer: Any) -> None:
        self.trainables = trainables
        self.optimizer = optimizer
        optimizer.train()

    def state(self) -> dict[str, Tensor]:
        """The averages by the trainables' names."""
        with self.averaged():
            return {item.name: item.parameter.detach().clone() for item in self.trainables}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The optimiser's state has it already."""

    def update(self, step: int) -> None:
        """The optimiser has done it."""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        kept = [item.parameter.detach().to("cpu", copy=True) for item in self.trainables]
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()
            with torch.no_grad():
                for item, value in zip(self.trainables, kept, strict=True):
                    item.parameter.copy_(value)
