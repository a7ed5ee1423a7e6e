"""What the next step needs, made by a thread while this one runs; nothing depends on whether it was."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

from engine import draws
from engine.models.family_spec import FamilySpec
from engine.plan.schema import Plan
from engine.train.noise import pyramid

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Outline = Sequence[tuple[tuple[int, ...], tuple[int, int]]]
"""Of each of a step's batches the slots, and width and height of its pictures in pixels."""
Draw = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""Purpose, step, slots, and the shape of one sample."""


def held(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor where a device takes it from without a halt: for CUDA in pinned memory, which torch uses again as soon
    as the copy out of it is complete."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor that is `held` on the device; nobody waits for the copy but the kernels behind it."""
    return tensor.to(device, non_blocking=True)


class Ahead(Generic[K, V]):
    """Makes what is asked for, and what will be asked for next, in one thread: `make` need not be for several."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[K, Future[V]] | None = None

    def take(self, key: K, then: K | None) -> V:
        """What `make` gives for the key; from here on `then` is made. Errors of `make` are raised here."""
        begun, self._next = self._next, None
        if begun is None or begun[0] != key:
            if begun is not None:
                begun[1].cancel()
            begun = key, self._thread.submit(self._make, key)
        if then is not None:
            self._next = then, self._thread.submit(self._make, then)
        return begun[1].result()


class DrawsAhead:
    """The normal draws of a run's steps: those of the next step are made before it asks for them."""

    def __init__(self, plan: Plan, spec: FamilySpec, device: torch.device) -> None:
        self._seed = plan.seed
        self._objective = plan.objective
        self._spec = spec
        self._device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="draws")
        self._begun: dict[Draw, Future[Tensor]] = {}

    def normal(self, purpose: str, step: int, slots: Sequence[int], shape: Sequence[int]) -> Tensor:
        """`engine.draws.normal` of the run's seed, on the device; `noise` has its pyramid where that is asked for."""
        draw: Draw = (purpose, step, tuple(slots), tuple(shape))
        begun = self._begun.pop(draw, None)
        return sent(self._draw(draw) if begun is None else begun.result(), self._device)

    def expect(self, step: int, outline: Outline) -> None:
        """Begin with the draws of a step whose batches look so; what older steps have not asked for is let go."""
        wanted = list(self._of_step(step, outline))
        for stale in [draw for draw in self._begun if draw[1] < step - 1]:
            self._begun.pop(stale).cancel()
        for draw in wanted:
            if draw not in self._begun:
                self._begun[draw] = self._thread.submit(self._draw, draw)

    def _of_step(self, step: int, outline: Outline) -> Iterable[Draw]:
        channels, fold = self._spec.latent_channels, self._spec.downscale
        for slots, (width, height) in outline:
            more = ("perturbation",) if self._objective.input_perturbation > 0 else ()
            for purpose in ("latent", "noise", *more):
                yield purpose, step, slots, (channels, height // fold, width // fold)
            if self._objective.offsets_noise:
                yield "offset", step, slots, (channels, 1, 1)

    def _draw(self, draw: Draw) -> Tensor:
        drawn = draws.normal(self._seed, *draw)
        if draw[0] == "noise" and self._objective.pyramid_noise > 0:
            drawn = pyramid(drawn, self._objective, self._seed, *draw[1:3])
        return held(drawn, self._device)
