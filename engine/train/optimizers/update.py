"""One update of any optimiser, or none at all: where loss or gradients are not finite, nothing moves.

"Nothing" is weights, moments and counters alike, so that a skipped step leaves what no step would have left.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from engine.train.optimizers.base import Skip
from engine.train.optimizers.pieces import Pieces


class Update(Protocol):
    """Moves the weights by the gradients that they have."""

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

    def settle(self) -> None:
        """Wait until everything on the host is as after the last update; call it before state is read."""
        ...


def make_update(optimizer: torch.optim.Optimizer, skip: Skip, device: torch.device) -> Update:
    """On a CPU the flag is there to read, whatever the optimiser."""
    if device.type == "cpu" or skip == "host":
        return HostUpdate(optimizer, by_group=skip != "host")
    return FoundInfUpdate(optimizer) if skip == "found_inf" else RestoringUpdate(optimizer)


class HostUpdate:
    """Reads the flag, and takes the step or leaves it."""

    def __init__(self, optimizer: torch.optim.Optimizer, by_group: bool) -> None:
        self.pieces = Pieces(optimizer, by_group)

    @property
    def done(self) -> int:
        return self.pieces.done

    @property
    def torn(self) -> bool:
        return self.pieces.torn

    def step(self, bad: Tensor) -> None:
        if not bad:
            self.pieces.step()

    def settle(self) -> None:
        """Nothing is ever under way."""


class FoundInfUpdate:
    """For torch's fused kernels, which read `found_inf` on the device: where it is 1 they move nothing."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer: Any = optimizer
        self.pieces = Pieces(optimizer, by_group=True)

    @property
    def done(self) -> int:
        return self.pieces.done

    @property
    def torn(self) -> bool:
        return self.pieces.torn

    def step(self, bad: Tensor) -> None:
        self.optimizer.found_inf = bad
        self.optimizer.grad_scale = None
        self.pieces.step()

    def settle(self) -> None:
        """All counters are on the device."""


class RestoringUpdate:
    """For optimisers that know no flag: each parameter's weights and state are copied, stepped, and put back by
    `torch.where` on the device where the flag is set.

    One parameter at a time, so that the copies take one parameter's memory and not the model's. This holds for
    optimisers whose update of a parameter looks at no other one; numbers of a group must follow from the group alone.
    What lies on the host (counters, numbers of a group, tensors on the CPU) is put back one update later, when the
    flag has arrived: the device then has a whole step of work before it, so it never runs dry.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._flag: Tensor | None = None
        self._event: torch.cuda.Event | None = None
        self._numbers: list[dict[str, Any]] = []
        self._before: dict[Tensor, dict[str, Any]] = {}
        self._after: dict[int, dict[str, Any]] = {}
        self.done = 0
        self.torn = False

    def step(self, bad: Tensor) -> None:
        groups = self.optimizer.param_groups
        if not self.done:
            self.settle()
            self._numbers = [_numbers(group) for group in groups]
        skipped = bad.bool()
        todo = [(at, value) for at, group in enumerate(groups) for value in group["params"]]
        try:
            for at, parameter in todo[self.done :]:
                if parameter.grad is not None:
                    alone = {**groups[at], **self._numbers[at], "params": [parameter]}
                    self._after[at] = self._step_one(alone, parameter, skipped)
                self.done += 1
        finally:
            self.optimizer.param_groups = groups
        for at, after in self._after.items():
            groups[at].update(after)
        self.done, self._after = 0, {}
        self._send(bad)

    @torch.no_grad()
    def _step_one(self, group: dict[str, Any], parameter: Tensor, skipped: Tensor) -> dict[str, Any]:
        weights, state = parameter.detach().clone(), _copy(dict(self.optimizer.state.get(parameter, {})))
        self.optimizer.param_groups = [group]
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
        self._before[parameter] = state
        return _numbers(group)

    def _send(self, bad: Tensor) -> None:
        if bad.device.type == "cpu":
            self._flag = bad
            return
        self._flag = torch.empty((), dtype=bad.dtype, pin_memory=True)
        self._flag.copy_(bad, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def settle(self) -> None:
        if self._flag is None:
            return
        if self._event is not None:
            self._event.synchronize()
        if self._flag.item():
            for group, before in zip(self.optimizer.param_groups, self._numbers, strict=True):
                for name in _numbers(group).keys() - before.keys():
                    del group[name]
                group.update(before)
            for parameter, state in self._before.items():
                if state:
                    kept = self.optimizer.state[parameter]
                    self.optimizer.state[parameter] = _host_part(state, kept, parameter.device)
                else:
                    del self.optimizer.state[parameter]
        self._flag = self._event = None
        self._before = {}


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    return {name: _copy(value) for name, value in group.items() if name not in ("params", "lr")}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _copy(entry) for name, entry in value.items()}
    return [_copy(entry) for entry in value] if isinstance(value, list) else value


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
