"""The measures of a run whose memory runs out, the cheapest first: none of them changes what is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import nn

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.plan.schema import Plan
from engine.train.setup import AdaptedModel, idle_names
from engine.train.sparing import Measure, Sparing


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
