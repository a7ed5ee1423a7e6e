"""Parts of a model that wait on the CPU while nothing needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class IdleParts:
    """The parts of a family that may leave the device: each comes when it is asked for, and leaves again.

    Only what is frozen may leave. Its copy on the CPU (in pinned memory where the device is CUDA) therefore stays as
    it is: coming is one copy, leaving copies nothing, and the bits are the same however often a part comes. A device
    that is itself the CPU is treated like any other.
    """

    def __init__(self, parts: Mapping[str, nn.Module], names: Collection[str], device: torch.device) -> None:
        """Those of the parts that `names` says may leave; the others are none of this one's business."""
        self.device = device
        self.away: set[str] = set()
        """The parts that are not on the device now."""
        self._homes: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._users: Counter[str] = Counter()
        self._staying = 0
        self.add(parts, names)

    def add(self, parts: Mapping[str, nn.Module], names: Collection[str]) -> None:
        """Let these parts leave too, from now on."""
        for name in names:
            if name in parts:
                self._homes[name] = _homes(parts[name], self.device)
                self.away.add(name)

    @property
    def names(self) -> frozenset[str]:
        """The parts that may leave."""
        return frozenset(self._homes)

    @contextmanager
    def here(self, *names: str) -> Iterator[None]:
        """Inside, these parts are on the device; a part that never leaves is there anyway."""
        ours = [name for name in names if name in self._homes]
        try:
            for name in ours:
                self._users[name] += 1
                self._come(name)
            yield
        finally:
            self._users.subtract(ours)
            self._leave()

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Inside, what has come stays until the end, for something that asks for the same part many times."""
        self._staying += 1
        try:
            yield
        finally:
            self._staying -= 1
            self._leave()

    def _come(self, name: str) -> None:
        if name in self.away:
            self.away.discard(name)
            for tensor, home in self._homes[name]:
                tensor.data = home.to(self.device, non_blocking=True, copy=True)

    def _leave(self) -> None:
        if self._staying:
            return
        for name in self._homes.keys() - self.away:
            if self._users[name] <= 0:
                for tensor, home in self._homes[name]:
                    tensor.data = home
                self.away.add(name)


def _homes(part: nn.Module, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    found = []
    for tensor in (*part.parameters(), *part.buffers()):
        tensor.data = tensor.data.cpu()
        if device.type == "cuda":
            tensor.data = tensor.data.pin_memory()
        found.append((tensor, tensor.data))
    return found
