"""Traces one step of a plan: the loop's own loss and backward pass on the method's own modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine.cost.traced_step import GRADIENTS
from engine.families.base import Conditioning, Geometry
from engine.methods.condition_nets import CONTROL
from engine.models.family_spec import FamilySpec
from engine.plan.schema import Plan
from engine.tracing.autocast import CudaAutocast
from engine.tracing.counting import Counter, Weightless
from engine.tracing.marks import BATCH, HEIGHT, WIDTH
from engine.tracing.model import token_ids
from engine.train.loop import Batch, Loop
from engine.train.setup import AdaptedModel

META = torch.device("meta")
COPIES = "copies"


@dataclass
class _Loss(Loop):
    """The loop's loss where nothing is drawn and nothing has memory."""

    casts: CudaAutocast | None = None

    def __post_init__(self) -> None:
        self.effective_batch = self.plan.train.batch_size
        self.stochastic = False

    def _normal(self, purpose: str, step: int, slots: Sequence[int], shape: Sequence[int]) -> Tensor:
        return torch.empty(len(slots), *shape, device=META)

    def _to(self, tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=META)

    def _autocast(self) -> AbstractContextManager[Any]:
        assert self.casts is not None
        return self.casts.on()

    def loss(self, batch: Batch) -> Tensor:
        """This batch's loss."""
        return self._loss(1, batch)


@dataclass(frozen=True)
class Sides:
    """Pictures at once and the latents' sides that a step is traced at."""

    batch: int = BATCH
    height: int = HEIGHT
    width: int = WIDTH


MARKED = Sides()


def count_step(plan: Plan, adapted: AdaptedModel, sides: Sides) -> Counter:
    """Forward and backward pass of one batch."""
    counter = Counter()
    forward = forward_of(
        plan, adapted, sides, CudaAutocast(adapted.autocast, partial(counter.counted_as, COPIES))
    )
    counter.expect(tensors_of(adapted))
    with counter:
        loss = forward()
        counter.mark("forward")
        torch.autograd.backward([loss])
        grads = (item.parameter.grad for item in adapted.trainables)
        counter.become((grad for grad in grads if grad is not None), GRADIENTS)
        counter.mark("end")
    del counter.events[counter.marks["end"] :]
    return counter


def tensors_of(adapted: AdaptedModel) -> Iterator[Tensor]:
    """Everything that is there between two steps, but for the optimiser's states and averages."""
    for module in (*adapted.family.parts.values(), *adapted.method.modules().values()):
        yield from (*module.parameters(), *module.buffers())


def forward_of(plan: Plan, adapted: AdaptedModel, sides: Sides, casts: CudaAutocast) -> Callable[[], Tensor]:
    """The loss of one batch of these sides, when it is called."""
    _recompute_under(casts, [*adapted.family.parts.values(), *adapted.method.modules().values()])
    loop: _Loss = _Loss(
        plan,
        adapted.family,
        adapted.method,
        adapted.trainables,
        None,  # type: ignore[arg-type]
        META,
        adapted.autocast,
        lambda *_: None,
        casts=casts,
    )
    return partial(loop.loss, _batch(plan, adapted, sides, casts))


def _recompute_under(casts: CudaAutocast, modules: Sequence[nn.Module]) -> None:
    """What gradient checkpointing computes again is cast as it was the first time."""
    for part in modules:
        for module in part.modules():
            owner: Any = module
            if hasattr(module, "_gradient_checkpointing_func"):
                owner._gradient_checkpointing_func = partial(
                    checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), casts.on())
                )


def sizes_of(spec: FamilySpec, sides: Sides) -> tuple[Geometry, ...]:
    """Of pictures that are neither scaled nor cropped."""
    pixels = (sides.height * spec.downscale, sides.width * spec.downscale)
    return (Geometry(pixels, (0, 0), pixels),) * sides.batch


def control_pictures(plan: Plan, downscale: int, sides: Sides) -> dict[str, Tensor]:
    """What a method that sees condition pictures is given."""
    source = plan.options.conditions
    if source is None:
        return {}
    shape = (sides.batch, source.channels, sides.height * downscale, sides.width * downscale)
    return {CONTROL: torch.empty(shape, device=META)}


def _batch(plan: Plan, adapted: AdaptedModel, sides: Sides, casts: CudaAutocast) -> Batch:
    spec = adapted.family.spec
    latents = torch.empty(sides.batch, spec.latent_channels, sides.height, sides.width, device=META)
    return Batch(
        slots=tuple(range(sides.batch)),
        mean=latents,
        std=latents,
        cond=_conditioning(plan, adapted, sides.batch, casts),
        weights=torch.empty(sides.batch, device=META),
        sizes=sizes_of(spec, sides),
        extra=control_pictures(plan, spec.downscale, sides),
    )


def _conditioning(
    plan: Plan, adapted: AdaptedModel, batch: int, casts: CudaAutocast
) -> Callable[[], Conditioning]:
    encode = partial(adapted.family.encode_text, token_ids(adapted.family, batch))
    if plan.options.trains_text:
        return encode
    with Weightless(), torch.no_grad(), casts.on():  # type: ignore[no-untyped-call]
        once = encode()
    return lambda: once
