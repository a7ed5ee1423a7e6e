"""A run's state at one step, copied into main memory so that the next step may change the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.methods.base import Trainable
from engine.train import optimizer_state

WEIGHTS, OPTIMIZER, AVERAGES = "weights.safetensors", "optimizer.safetensors", "averages.safetensors"
Copy = Callable[[Tensor], Tensor]
"""What stands in a snapshot for a tensor of the run."""

# A power of two, as torch rounds pinned memory up to one.
BLOCK = 64 << 20
ALIGNED = 64
KEPT = 2 << 30
"""Bytes that stay allocated from one save to the next: getting memory takes longer than copying into it."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint of `step` holds: for each file its tensors by name, and the rest as JSON.

    `wait` returns when the copies are made; before that nobody may read them.
    """

    step: int
    files: Mapping[str, Mapping[str, Tensor]]
    state: str
    wait: Callable[[], None] = field(default=lambda: None)


def take(
    step: int,
    trainables: Sequence[Trainable],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    averages: Mapping[str, Tensor] | None,
    copies: HostCopies | None = None,
) -> Snapshot:
    """The state as it is now. Without `copies` it holds the run's own tensors, so it is good until the next step."""
    copy: Copy = torch.Tensor.detach if copies is None else copies.copy
    own = optimizer_state.read(trainables, optimizer, copy)
    files = {
        WEIGHTS: {item.name: copy(item.parameter) for item in trainables},
        OPTIMIZER: own.tensors,
    }
    if averages is not None:
        files[AVERAGES] = {name: copy(value) for name, value in averages.items()}
    text = json.dumps({**state, "step": step, **own.to_json()}, indent=1, sort_keys=True)
    return Snapshot(step, files, text, *([] if copies is None else [copies.waiting()]))


class HostCopies:
    """Main memory for the copies of one snapshot at a time, used again for the next one.

    It is pinned where tensors lie on a CUDA device: copies then queue behind the step's kernels, and neither the host
    nor the next step's kernels wait for more than their turn. On a CPU the same calls copy at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[Tensor] = []
        self._block = self._used = 0
        # The copies that were made last, in their order: a LoRA of SDXL has 4,480 tensors, whose places take longer to
        # find than the numbers take to copy.
        self._made: list[Tensor] = []
        self._next = 0

    @property
    def held(self) -> int:
        """Bytes that are allocated."""
        return sum(block.numel() for block in self._blocks)

    def begin(self) -> None:
        """The copies that were made are needed no more: their memory is used again."""
        self._next = 0

    def shrink(self) -> None:
        """Give memory back where it is more than `KEPT`; a tensor that is still used keeps its own."""
        if self.held > KEPT:
            self._blocks, self._made = [], []
            self._block = self._used = self._next = 0

    def copy(self, tensor: Tensor) -> Tensor:
        """The same numbers in main memory, contiguous; complete when `waiting()` has returned."""
        at, self._next = self._next, self._next + 1
        out = self._made[at] if at < len(self._made) else None
        if out is None or out.shape != tensor.shape or out.dtype != tensor.dtype:
            self._keep(at)
            out = self._place(tensor.nbytes).view(tensor.dtype).view(tensor.shape)
            self._made.append(out)
        return out.copy_(tensor.detach() if tensor.requires_grad else tensor, non_blocking=True)

    def waiting(self) -> Callable[[], None]:
        """A function that returns when the copies asked for until now are complete."""
        if self._device.type != "cuda":
            return lambda: None
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))
        return done.synchronize

    def _keep(self, count: int) -> None:
        """Of the copies of before the first `count` are in use: after them everything is another one's."""
        if count < len(self._made):
            del self._made[count:]
            self._block = self._used = 0
            for made in self._made:
                self._place(made.nbytes)

    def _place(self, size: int) -> Tensor:
        """The next `size` bytes."""
        while self._block < len(self._blocks):
            block, start = self._blocks[self._block], self._used
            if start + size <= block.numel():
                self._used = math.ceil((start + size) / ALIGNED) * ALIGNED
                return block[start : start + size]
            self._block, self._used = self._block + 1, 0
        pinned = self._device.type == "cuda"
        self._blocks.append(torch.empty(max(BLOCK, size), dtype=torch.uint8, pin_memory=pinned))
        return self._place(size)
