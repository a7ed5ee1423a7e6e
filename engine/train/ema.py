"""An exponential moving average of what trains, kept in fp32 beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.methods.base import Trainable


class Ema:
    """Averages with a warm-up: at update n the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage, so that early averages are not the initial weights."""

    def __init__(
        self, trainables: Sequence[Trainable], decay: float, averages: Mapping[str, Tensor] | None = None
    ) -> None:
        """Starts from the weights as they are, or from a checkpoint's averages by the trainables' names."""
        self.names = [item.name for item in trainables]
        self.parameters = [item.parameter for item in trainables]
        self.decay = decay
        self.shadow: list[Tensor] = [
            item.parameter.detach().clone() if averages is None else averages[item.name]
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
        torch._foreach_lerp_(self.shadow, [value.data for value in self.parameters], 1 - decay)

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
        for value, shadow in zip(self.parameters, self.shadow, strict=True):
            own = value.detach().clone()
            value.copy_(shadow)
            shadow.copy_(own)
