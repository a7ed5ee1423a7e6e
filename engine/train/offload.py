"""Memory of the device spared by the CPU's: blocks that come for their turn, and activations that wait outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

LEAST_BYTES = 1 << 20
"""Activations smaller than this stay: a copy of them costs more than their memory is worth."""


@dataclass(eq=False)
class _Block:
    """A block whose frozen tensors live on the CPU. `there` are their copies on the device while it is there."""

    number: int
    tensors: list[Tensor]
    homes: list[Tensor]
    there: list[Tensor] = field(default_factory=list)
    ready: Any = None

    @property
    def here(self) -> bool:
        return bool(self.there)


@dataclass(frozen=True)
class _Weight:
    """A view of a block's tensor, as the backward pass asks for it."""

    block: _Block
    at: int
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class Offload:
    """What of a step's memory lies on the CPU: `swap` gives it blocks, `activations` whether they go there too.

    Only frozen tensors are swapped, so that leaving copies nothing. Two blocks are on the device at a time: the one
    that computes, and the one that came after it the last time, which is copied meanwhile by a stream of its own where
    the device is CUDA. Where it is the CPU the same is done with copies there. No bit changes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.activations = False
        self.most = 0
        """The most swapped blocks that were on the device at a time."""
        self._blocks: list[_Block] = []
        self._by_storage: dict[int, tuple[_Block, int]] = {}
        self._next: dict[tuple[int, bool], int] = {}
        self._last: tuple[int, bool] | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def swapped(self) -> int:
        """How many blocks live on the CPU."""
        return len(self._blocks)

    def homeless(self, module: nn.Module) -> list[Tensor]:
        """The parameters and buffers of a module that are not swapped."""
        swapped = {id(value) for block in self._blocks for value in block.tensors}
        return [value for value in (*module.parameters(), *module.buffers()) if id(value) not in swapped]

    def swap(self, modules: Sequence[nn.Module], count: int) -> None:
        """Let the frozen tensors of the `count` largest modules live on the CPU from here on."""
        largest = sorted(modules, key=lambda module: -sum(value.nbytes for value in _frozen(module)))
        chosen = {id(module) for module in largest[:count]}
        for module in modules:
            if id(module) in chosen:
                self._add(module)

    def _add(self, module: nn.Module) -> None:
        tensors = _frozen(module)
        for value in tensors:
            value.data = value.data.cpu()
            if self._stream is not None:
                value.data = value.data.pin_memory()
        block = _Block(len(self._blocks), tensors, [value.data for value in tensors])
        self._blocks.append(block)
        module.register_forward_pre_hook(lambda *_: self._bring(block))
        for part in module.modules():
            if hasattr(part, "before_restoring"):
                cast(Any, part).before_restoring = lambda: self._again(block)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around a forward pass: what its backward pass will need is kept where this says."""
        if not (self._blocks or self.activations):
            yield
            return
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            yield

    def _pack(self, tensor: Tensor) -> Any:
        found = self._by_storage.get(tensor.untyped_storage().data_ptr())
        if found is not None:
            block, at = found
            return _Weight(block, at, tensor.size(), tensor.stride(), int(tensor.storage_offset()))
        if not self.activations or isinstance(tensor, nn.Parameter) or tensor.nbytes < LEAST_BYTES:
            return tensor
        # One number that stands for many takes no memory.
        if 0 in tensor.stride():
            return tensor
        return _laid_out_alike(tensor, torch.device("cpu"), self._stream is not None), tensor.device

    def _unpack(self, packed: Any) -> Tensor:
        if isinstance(packed, _Weight):
            self._again(packed.block)
            return packed.block.there[packed.at].as_strided(packed.size, packed.stride, packed.offset)
        if isinstance(packed, tuple):
            return _laid_out_alike(packed[0], packed[1])
        assert isinstance(packed, Tensor)
        return packed

    def _again(self, block: _Block) -> None:
        if self._last is None or self._last[0] != block.number:
            self._bring(block)

    def _bring(self, block: _Block) -> None:
        """Have the block on the device, and the one that will follow it on its way; the others leave."""
        # Backward, a block that is computed again calls for itself as in the forward pass, and another one follows.
        backward = torch._C._current_graph_task_id() >= 0
        now = (block.number, backward)
        if self._last is not None and self._last != now and self._last[0] != block.number:
            self._next[self._last] = block.number
        self._last = now
        following = self._next.get(now)
        for other in self._blocks:
            if other.here and other is not block and other.number != following:
                self._send_away(other)
        self._fetch(block)
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(block.ready)
            for value in block.there:
                value.record_stream(current)
        if following is not None:
            self._fetch(self._blocks[following])
        self.most = max(self.most, sum(other.here for other in self._blocks))

    def _fetch(self, block: _Block) -> None:
        if block.here:
            return
        if self._stream is None:
            block.there = [home.to(self.device, copy=True) for home in block.homes]
        else:
            # What leaves was freed for the stream that computes: the copy begins after what was asked of that so far.
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):
                block.there = [home.to(self.device, non_blocking=True) for home in block.homes]
                block.ready = self._stream.record_event()
        for at, (value, there) in enumerate(zip(block.tensors, block.there, strict=True)):
            value.data = there
            self._by_storage[there.untyped_storage().data_ptr()] = block, at

    def _send_away(self, block: _Block) -> None:
        for value, home, there in zip(block.tensors, block.homes, block.there, strict=True):
            self._by_storage.pop(there.untyped_storage().data_ptr(), None)
            value.data = home
        block.there = []


def _laid_out_alike(tensor: Tensor, device: torch.device, pinned: bool = False) -> Tensor:
    """A copy with the same strides: a kernel may add up in another order where these differ."""
    made = torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device, pin_memory=pinned
    )
    return made.copy_(tensor, non_blocking=True)


def _frozen(module: nn.Module) -> list[Tensor]:
    """What of a module does not train and has numbers."""
    tensors = (*module.parameters(), *module.buffers())
    return [value for value in tensors if not value.requires_grad and value.numel()]
