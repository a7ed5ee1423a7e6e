"""One update of any optimiser, or none at all: where loss or gradients are not finite, nothing moves.

"Nothing" is weights, moments and counters alike, so that a skipped step leaves what no step would have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.train.optimizers.base import Skip
from engine.train.optimizers.pieces import Pieces, copied, numbers, places
from engine.train.optimizers.rounding import Narrow


class Update(Protocol):
    """Moves the weights by the gradients that they have."""

    def begin(self, step: int) -> None:
        """Update `step` follows."""
        ...

    @property
    def done(self) -> int:
        """How much of an update that memory has ended is done; 0 where nothing has moved."""
        ...

    @property
    def torn(self) -> bool:
        """Was it left in a state from which it cannot go on?"""
        ...

    def step(self, bad: Tensor) -> None:
        """One update, unless `bad`, a 0-d tensor on the device, is not 0.

        After OutOfMemoryError, unless `torn`, a second call with the same gradients and flag does the rest.
        """
        ...

    def part(self, parameters: Sequence[Tensor], bad: Tensor) -> None:
        """A part of an update: these weights alone, unless `bad` is not 0. For optimisers that step a weight without a
        look at others; `finish` ends the update."""
        ...

    def finish(self) -> None:
        """The last part of an update is done."""
        ...

    def settle(self) -> None:
        """Wait until everything on the host is as after the last update; call it before state is read."""
        ...


def make_update(
    optimizer: torch.optim.Optimizer, skip: Skip, device: torch.device, narrow: Narrow | None = None
) -> Update:
    """On a CPU the flag is there to read, whatever the optimiser."""
    if device.type == "cpu" or skip == "host":
        return HostUpdate(optimizer, skip != "host", narrow)
    kind = FoundInfUpdate if skip == "found_inf" else RestoringUpdate
    return kind(optimizer, narrow)


class Rounding:
    """Keys the draws of what lies in bf16 between two updates by their number."""

    def __init__(self, narrow: Narrow | None) -> None:
        self.narrow = narrow

    def begin(self, step: int) -> None:
        if self.narrow is not None:
            self.narrow.step = step


class HostUpdate(Rounding):
    """Reads the flag, and takes the step or leaves it."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, by_group: bool, narrow: Narrow | None = None
    ) -> None:
        super().__init__(narrow)
        self.pieces = Pieces(optimizer, by_group, narrow)

    @property
    def done(self) -> int:
        return self.pieces.done

    @property
    def torn(self) -> bool:
        return self.pieces.torn

    def step(self, bad: Tensor) -> None:
        if not bad:
            self.pieces.step()

    def part(self, parameters: Sequence[Tensor], bad: Tensor) -> None:
        if not bad:
            self.pieces.part(parameters)

    def finish(self) -> None:
        self.pieces.finish()

    def settle(self) -> None:
        """Nothing is ever under way."""


class FoundInfUpdate(Rounding):
    """For torch's fused kernels, which read `found_inf` on the device: where it is 1 they move nothing."""

    def __init__(self, optimizer: torch.optim.Optimizer, narrow: Narrow | None = None) -> None:
        super().__init__(narrow)
        self.optimizer: Any = optimizer
        self.pieces = Pieces(optimizer, True, narrow)

    @property
    def done(self) -> int:
        return self.pieces.done

    @property
    def torn(self) -> bool:
        return self.pieces.torn

    def step(self, bad: Tensor) -> None:
        self._tell(bad)
        self.pieces.step()

    def part(self, parameters: Sequence[Tensor], bad: Tensor) -> None:
        self._tell(bad)
        self.pieces.part(parameters)

    def _tell(self, bad: Tensor) -> None:
        self.optimizer.found_inf = bad
        self.optimizer.grad_scale = None

    def finish(self) -> None:
        self.pieces.finish()

    def settle(self) -> None:
        """All counters are on the device."""


class RestoringUpdate(Rounding):
    """For optimisers that know no flag: each parameter's weights and state are copied, stepped, and put back by
    `torch.where` on the device where the flag is set.

    One parameter at a time, so that the copies take one parameter's memory and not the model's. This holds for
    optimisers whose update of a parameter looks at no other one; numbers of a group must follow from the group alone.
    What lies on the host (counters, numbers of a group, tensors on the CPU) is put back one update later, when the
    flag has arrived: the device then has a whole step of work before it, so it never runs dry.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, narrow: Narrow | None = None) -> None:
        super().__init__(narrow)
        self.optimizer = optimizer
        self._flags: Tensor | None = None
        self._event: torch.cuda.Event | None = None
        self._numbers: list[dict[str, Any]] = []
        self._parts: list[tuple[Tensor, dict[Tensor, dict[str, Any]]]] = []
        self._after: dict[int, dict[str, Any]] = {}
        self._places = places(optimizer)
        self.done = 0
        self.torn = False

    def step(self, bad: Tensor) -> None:
        values = [value for group in self.optimizer.param_groups for value in group["params"]]
        self._begin(bad)
        for value in values[self.done :]:
            self._one(value, bad)
            self.done += 1
        self.done = 0
        self.finish()

    def part(self, parameters: Sequence[Tensor], bad: Tensor) -> None:
        self._begin(bad, apart=True)
        for value in parameters:
            self._one(value, bad)

    def _begin(self, bad: Tensor, apart: bool = False) -> None:
        if self._flags is not None:
            self.settle()
        if not self._parts:
            self._numbers = [numbers(group) for group in self.optimizer.param_groups]
        if apart or not self._parts:
            self._parts.append((bad, {}))

    def _one(self, parameter: Tensor, bad: Tensor) -> None:
        if parameter.grad is None:
            return
        groups = self.optimizer.param_groups
        at = self._places[parameter]
        alone = {**groups[at], **copied(self._numbers[at]), "params": [parameter]}
        self.optimizer.param_groups = [alone]
        try:
            with self.narrow.wide([parameter]) if self.narrow is not None else nullcontext():
                self._step_one(parameter, bad.bool())
        finally:
            self.optimizer.param_groups = groups
        self._after[at] = numbers(alone)

    @torch.no_grad()
    def _step_one(self, parameter: Tensor, skipped: Tensor) -> None:
        weights, state = parameter.detach().clone(), copied(dict(self.optimizer.state.get(parameter, {})))
        try:
            self.optimizer.step()
        except torch.OutOfMemoryError:
            parameter.copy_(weights)
            self.optimizer.state.pop(parameter, None)
            if state:
                self.optimizer.state[parameter] = state
            raise
        parameter.copy_(torch.where(skipped, weights, parameter))
        _put_back(state, self.optimizer.state[parameter], skipped)
        self._parts[-1][1][parameter] = state

    def finish(self) -> None:
        for at, after in self._after.items():
            self.optimizer.param_groups[at].update(after)
        self._after = {}
        if not self._parts:
            return
        flags = torch.stack([bad for bad, _ in self._parts])
        if flags.device.type == "cpu":
            self._flags = flags
            return
        self._flags = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        self._flags.copy_(flags, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def settle(self) -> None:
        if self._flags is None:
            return
        if self._event is not None:
            self._event.synchronize()
        skipped = self._flags.bool().tolist()
        if all(skipped):
            for group, before in zip(self.optimizer.param_groups, self._numbers, strict=True):
                for name in numbers(group).keys() - before.keys():
                    del group[name]
                group.update(before)
        for bad, (_, states) in zip(skipped, self._parts, strict=True):
            if bad:
                self._restore(states)
        self._flags = self._event = None
        self._parts = []

    def _restore(self, states: dict[Tensor, dict[str, Any]]) -> None:
        for parameter, state in states.items():
            if state:
                kept = self.optimizer.state[parameter]
                self.optimizer.state[parameter] = _host_part(state, kept, parameter.device)
            else:
                del self.optimizer.state[parameter]


def _put_back(before: Any, after: Any, skipped: Tensor) -> None:
    """Fill the tensors on the device in `after` with those of `before` where `skipped`."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        if after.device == skipped.device:
            after.copy_(torch.where(skipped, before, after))
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() & after.keys():
            _put_back(before[name], after[name], skipped)
    elif isinstance(before, list) and isinstance(after, list):
        for old, new in zip(before, after, strict=False):
            _put_back(old, new, skipped)


def _host_part(before: Any, after: Any, device: torch.device) -> Any:
    """`before`, but its tensors on the device as they are in `after`, which has put them back already."""
    if isinstance(before, Tensor):
        return after if isinstance(after, Tensor) and after.device == device else before
    if isinstance(before, dict):
        return {name: _host_part(value, after[name], device) for name, value in before.items()}
    if isinstance(before, list):
        return [_host_part(old, new, device) for old, new in zip(before, after, strict=True)]
    return before
