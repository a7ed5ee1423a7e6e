"""Counts what a computation allocates and does, operation by operation, on tensors without memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from engine.cost.quantity import Powers
from engine.tracing.attention import BACKWARD, FORWARD
from engine.tracing.marks import term
from engine.tracing.shapes import result_of

Event = tuple[str, Powers, float]
"""What the live storage of a kind changes by."""
_MATRICES = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
_ITEM = torch.ops.aten._local_scalar_dense.default


class Weightless(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws and reads of numbers do not fail for want of numbers: drawn are none, and read is 1."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here, and keeping the compiler off each operation takes a twentieth of a trace.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("generator") is not None and _on_meta(args, given):
            given["generator"] = None
        if func is _ITEM and args[0].is_meta:
            return True if args[0].dtype is torch.bool else 1 if not args[0].is_floating_point() else 1.0
        known = result_of(func, args)
        return func(*args, **given) if known is None else known


class Counter(Weightless):  # type: ignore[no-untyped-call]
    """Live storage over time by kind, operations, bytes moved and kernels of all that runs inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.marks: dict[str, int] = {}
        self.flops: dict[Powers, float] = {}
        self.moved: dict[Powers, float] = {}
        self.kernels = 0
        self.kind = "activations"
        self._live: dict[int, tuple[Any, int, Event]] = {}

    def expect(self, tensors: Iterable[Tensor]) -> None:
        """These are there before, and counted elsewhere."""
        for tensor in tensors:
            self._see(tensor, "")

    def mark(self, name: str) -> None:
        """Remember this moment."""
        self.marks[name] = len(self.events)

    @contextmanager
    def counted_as(self, kind: str) -> Iterator[None]:
        """What is allocated inside is of this kind."""
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before

    def become(self, tensors: Iterable[Tensor], kind: str) -> None:
        """What these hold is counted as `kind`, from the moment when it was allocated."""
        for tensor in tensors:
            found = self._live.get(tensor.untyped_storage()._cdata)
            if found is not None and found[2][0]:
                _, at, (_, powers, size) = found
                self.events[at] = (kind, powers, size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        results = out if isinstance(out, tuple | list) else (out,)
        fresh = False
        for result in results:
            if isinstance(result, Tensor) and result.is_meta:
                fresh |= self._see(result, self.kind)
        if fresh or func._schema.is_mutable:
            self._work(func, args, dict(kwargs or {}), out, results)
        return out

    def _work(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, results: Iterable[Any]
    ) -> None:
        self.kernels += 1
        flops = _operations(func, args, kwargs, out)
        if flops:
            _add(self.flops, *term(flops))
            return
        for value in (*_tensors(args), *results):
            if isinstance(value, Tensor) and value.is_meta:
                _add(self.moved, *term(value.numel() * value.element_size()))

    def _see(self, tensor: Tensor, kind: str) -> bool:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return False
        powers, size = term(storage.nbytes(), padded=True)
        event: Event = (kind, powers, size)
        if kind:
            self.events.append(event)
        gone = partial(self._gone, key)
        self._live[key] = weakref.ref(storage, gone), len(self.events) - 1, event
        return True

    def _gone(self, key: int, _: object) -> None:
        _, _, (kind, powers, size) = self._live.pop(key)
        if kind:
            self.events.append((kind, powers, -size))


def _add(terms: dict[Powers, float], powers: Powers, value: float) -> None:
    terms[powers] = terms.get(powers, 0.0) + value


def _on_meta(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    device = kwargs.get("device")
    if device is not None:
        return torch.device(device).type == "meta"
    return any(value.is_meta for value in _tensors(args))


def _tensors(args: Iterable[Any]) -> Iterator[Tensor]:
    for value in args:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from (item for item in value if isinstance(item, Tensor))


def _operations(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Operations of products of matrices and of convolutions, a multiply-add as 2; 0 for all else."""
    if func in (FORWARD, BACKWARD):
        query, key, value = args[:3] if func is FORWARD else args[1:4]
        one = 2 * query.numel() * key.shape[-2]
        both = one + one * value.shape[-1] // query.shape[-1]
        # The backward pass makes the map again and multiplies four times: 5 products for the forward pass' 2.
        return int(both if func is FORWARD else both * 5 // 2)
    if func in _MATRICES:
        one, other = args[-2:]
        return int(2 * one.shape[0] * one.shape[1] * other.shape[1])
    known = flop_registry.get(func.overloadpacket)
    return int(known(*args, **kwargs, out_val=out)) if known is not None else 0
