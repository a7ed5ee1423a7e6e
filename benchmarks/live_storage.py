"""Counts the live storage of a plan's step at the plan's own sizes: what the forecast is compared with.

It shares with the forecast the engine's modules and the rules of CUDA's autocast; it has none of its tables, and no
marked sides: every storage of the model, of the optimiser and of the step is followed until it is freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import live_options
from engine.models.bases import BaseInfo
from engine.plan.schema import Plan
from engine.tracing.autocast import CudaAutocast
from engine.tracing.step import Sides, forward_of, tensors_of
from engine.tracing.trace import adapt


class LiveStorage(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages that are alive, on any device, and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count these as well, which were there before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._known:
                continue

            def gone(_: object, key: int = key, size: int = size) -> None:
                del self._known[key]
                self.now -= size

            self._known[key] = weakref.ref(storage, gone)
            self.now += size
            self.peak = max(self.peak, self.now)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        found = out if isinstance(out, tuple | list) else (out,)
        self.hold(value for value in found if isinstance(value, Tensor))
        return out


def counted_bytes(plan: Plan, base: BaseInfo | None, family: str, width: int, height: int) -> int:
    """The peak of a step on pictures of this size, in 16 bit, with the model, AdamW's states and the gradients."""
    hardware = plan.hardware.model_copy(update={"idle_parts": "keep", **live_options.LEFT_OUT})
    train = plan.train.model_copy(update={"precision": "bf16"})
    adapted = adapt(plan.model_copy(update={"train": train, "hardware": hardware}), base, family)
    fold = adapted.family.spec.downscale
    sides = Sides(plan.train.batch_size, height // fold, width // fold)
    forward = forward_of(plan, adapted, sides, CudaAutocast(adapted.autocast))
    parameters = [item.parameter for item in adapted.trainables]
    moments = [torch.empty_like(parameter, dtype=torch.float32) for parameter in parameters for _ in range(2)]
    counter = LiveStorage()
    with live_options.quantise(plan, adapted), live_options.elsewhere(plan):
        counter.hold((*tensors_of(adapted), *moments))
        with counter:
            loss = forward()
            live_options.freeing(plan, adapted, loss)
            torch.autograd.backward([loss])
    return counter.peak
