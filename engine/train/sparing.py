"""What a run does about memory that runs out once its batches are single pictures, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import nn

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.plan.schema import Plan
from engine.train.offload import Offload
from engine.train.setup import AdaptedModel, idle_names

Measure = tuple[str, Callable[[], None]]
"""What is done from then on, in words, and what does it."""


class Sparing:
    """Takes one measure after the other, the cheapest first. `offload` is where the backward pass's needs are kept."""

    def __init__(self, measures: Iterator[Measure] | None = None, offload: Offload | None = None) -> None:
        self._measures = iter(()) if measures is None else measures
        self._offload = offload

    def saving(self) -> AbstractContextManager[None]:
        """Around a forward pass."""
        return nullcontext() if self._offload is None else self._offload.saving()

    def spare(self) -> tuple[str, str] | None:
        """Take the next measure: a warning's code and text, or none where none is left."""
        for text, act in self._measures:
            act()
            return "memory-saved", f"out of memory: {text} from here on; what is learned stays the same"
        return None


def free_cache(device: torch.device) -> None:
    """Give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def sparing_of(plan: Plan, adapted: AdaptedModel) -> Sparing:
    """The measures of a plan that it has not taken already; none with hardware.fit off."""
    measures = None if plan.hardware.fit == "off" else _measures(plan, adapted)
    return Sparing(measures, adapted.offload)


def _measures(plan: Plan, adapted: AdaptedModel) -> Iterator[Measure]:
    hardware, family, offload = plan.hardware, adapted.family, adapted.offload
    idle = idle_names(plan, family) - adapted.idle.names
    if idle:
        yield "idle parts wait on the CPU", lambda: adapted.idle.add(family.parts, idle)
    if not hardware.gradient_checkpointing or hardware.checkpointed_blocks:
        yield "activations are computed again (gradient checkpointing)", lambda: _checkpoint(adapted)
    if hardware.compile:
        return
    if not offload.activations:
        yield "activations wait on the CPU", lambda: setattr(offload, "activations", True)
    blocks = _frozen_blocks(plan, family)
    if blocks and not offload.swapped:
        text = "the denoiser's blocks live on the CPU until their turn"
        yield text, lambda: offload.swap(blocks, len(blocks))


def _frozen_blocks(plan: Plan, family: ModelFamily) -> Sequence[nn.Module]:
    """The blocks that can be swapped: none of a denoiser that trains, or of a family without them."""
    if family.spec.denoiser in plan.options.whole_parts(family.spec):
        return ()
    try:
        return family.blocks_to_swap()
    except UserError:
        return ()


def _checkpoint(adapted: AdaptedModel) -> None:
    adapted.family.enable_gradient_checkpointing()
    for module in adapted.method.modules().values():
        if hasattr(module, "enable_gradient_checkpointing"):
            cast(Any, module).enable_gradient_checkpointing()
