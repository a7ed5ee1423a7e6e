"""Numbers that lie in bf16 between two updates and in fp32 within one, rounded stochastically by the run's own draws.

Rounding to the nearest loses every change below 1/256 of a number; up or down by chance, in proportion to what is cut
off, keeps it on average (Gupta et al., arXiv:1502.02551). bf16 is the upper half of fp32, so that 16 random bits are
added and the lower half is cut off (as Zamirai et al., arXiv:2010.06192).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from engine import draws


def rounded(values: Tensor, bits: Tensor) -> Tensor:
    """fp32 `values` in bf16; `bits` are integers from 0 to 65535 of the same shape. What bf16 has is left as it is,
    and so is what is not finite."""
    raised = (values.view(torch.int32) + bits).bitwise_and_(-65536).view(torch.float32)
    return torch.where(torch.isfinite(values), raised, values).bfloat16()


class Narrow:
    """Widens weights in bf16, and the `states` of an optimiser, for one update of them. `step` keys the draws."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        states: frozenset[str],
        seed: int,
    ) -> None:
        self.optimizer = optimizer
        self.states = states
        self.seed = seed
        self.step = 0
        self._slots = {value: at for at, value in enumerate(parameters)}

    @contextmanager
    def wide(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        """Inside, these weights, their gradients and states are fp32. An error leaves all as it was."""
        state = self.optimizer.state
        weights = [(value, value.data, value.grad) for value in parameters if value.dtype is torch.bfloat16]
        kept = [(state[value], dict(state[value])) for value in parameters if self.states and value in state]
        try:
            for value, data, grad in weights:
                value.grad = None
                value.data = data.float()
                value.grad = None if grad is None else grad.float()
            for entries, _ in kept:
                for name in self.states & entries.keys():
                    entries[name] = entries[name].float()
            yield
        except BaseException:
            for entries, before in kept:
                entries.update(before)
            for value, data, grad in weights:
                _put(value, data, grad)
            raise
        for value, _, grad in weights:
            _put(value, self._round(value.data, value, "weight"), grad)
        for value in parameters:
            self._round_states(value, state.get(value, {}))

    def _round_states(self, value: Tensor, entries: dict[str, Any]) -> None:
        for name in sorted(self.states & entries.keys()):
            entries[name] = self._round(entries[name], value, name)

    def _round(self, values: Tensor, owner: Tensor, name: str) -> Tensor:
        bits = draws.words16(
            self.seed, f"round {name}", self.step, self._slots[owner], values.shape, values.device
        )
        return rounded(values, bits)


def _put(value: Tensor, data: Tensor, grad: Tensor | None) -> None:
    # A gradient has its weight's dtype at every moment, or torch refuses it.
    value.grad = None
    value.data = data
    value.grad = grad
