"""What saves memory, counted on tensors without memory: as the engine does it, but for the copies that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from engine.plan.schema import Plan
from engine.tracing.step import META
from engine.train import quantised
from engine.train.frozen_base import ROLES
from engine.train.offload import LEAST_BYTES
from engine.train.release import GROUPS, Release
from engine.train.setup import AdaptedModel

LEFT_OUT = {"base_weights": "full", "swapped_blocks": 0, "offload_activations": False}
"""What `prepare` is not asked for, as it needs numbers."""


class _NoUpdate:
    """Frees gradients and moves nothing: an update's own scratch comes when activations are gone."""

    def part(self, parameters: Sequence[Tensor], bad: Tensor) -> None: ...

    def finish(self) -> None: ...


def quantise(plan: Plan, adapted: AdaptedModel) -> AbstractContextManager[None]:
    """The denoiser's linear layers in hardware.base_weights; inside, they see autocast as a GPU has it."""
    kind = plan.hardware.base_weights
    if kind == "full":
        return nullcontext()
    family = adapted.family
    layers = family.spec.layers(family.configs[family.spec.denoiser])
    with META:
        quantised.quantise(family.denoiser, [layer.path for layer in layers if layer.role in ROLES], kind)
    dtype = cast(torch.dtype, adapted.autocast)

    def forward(layer: quantised.QuantisedLinear, x: Tensor) -> Tensor:
        return cast(Tensor, quantised._Through.apply(x.to(dtype), layer))  # type: ignore[no-untyped-call]

    return cast(
        AbstractContextManager[None],
        patch.object(quantised.QuantisedLinear, "forward", new=cast(Any, forward)),
    )


def freeing(plan: Plan, adapted: AdaptedModel, loss: Tensor) -> None:
    """hardware.fused_backward: gradients are freed in the backward pass of this loss."""
    asked = plan.hardware.fused_backward
    if asked != "off":
        groups = GROUPS if asked == "groups" else 0
        parameters = [item.parameter for item in adapted.trainables]
        Release(parameters, cast(Any, _NoUpdate()), plan.train.clip_norm, groups).begin(loss)


@contextmanager
def elsewhere(plan: Plan) -> Iterator[None]:
    """hardware.offload_activations: what the backward pass needs is not on the device until it does."""

    def pack(tensor: Tensor) -> Any:
        small = isinstance(tensor, nn.Parameter) or tensor.nbytes < LEAST_BYTES or 0 in tensor.stride()
        return tensor if small else (tensor.size(), tensor.stride(), tensor.dtype)

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        size, stride, dtype = packed
        return torch.empty_strided(size, stride, dtype=dtype, device=META)

    if not plan.hardware.offload_activations:
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
