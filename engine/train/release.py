"""Weights are stepped during the backward pass, and their gradients freed: the optimiser's step in a gradient hook.

A gradient lives from when its layer is reached until its weight, or its group of weights, is stepped, so that a whole
model's gradients are never in memory at once (LOMO: Lv et al., arXiv:2306.09782; torch's tutorial "How to save memory
by fusing the optimizer step into the backward pass").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.plan.schema import Plan
from engine.train.optimizers.update import Update
from engine.train.world import World

GROUPS = 16
"""Groups of about as many numbers each."""


class Release:
    """Hooks on the weights that train. Between `begin` and `finish` one backward pass steps every weight that it
    reaches; outside of them gradients are kept as always."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], update: Update, clip_norm: float, groups: int
    ) -> None:
        """`groups` of weights in their order, each scaled down to `clip_norm`; 0 steps every weight by itself."""
        self.update = update
        self.clip_norm = clip_norm
        self.groups = _split(parameters, groups)
        self._place = {id(value): at for at, group in enumerate(self.groups) for value in group}
        self._order = {id(value): at for at, value in enumerate(parameters)}
        self._missing: list[int] = []
        self._norms: dict[int, Tensor] = {}
        self._bad: list[Tensor] = []
        self._loss: Tensor | None = None
        for value in parameters:
            value.register_post_accumulate_grad_hook(self._ready)  # type: ignore[no-untyped-call]

    def begin(self, loss: Tensor) -> bool:
        """The backward pass of this loss follows: the whole update's, for a weight is stepped once. False: from here
        to `finish` the weights are not those after an update."""
        assert self._loss is None, "an update whose weights are stepped in the backward pass has one batch"
        self._loss = loss.detach()
        self._missing = [len(group) for group in self.groups]
        self._norms, self._bad = {}, [(~torch.isfinite(self._loss)).float()]
        return False

    def finish(self) -> tuple[Tensor, Tensor]:
        """Step what still waits for weights that the pass did not reach; the norm of all gradients, and 1.0 where any
        of them or the loss was not finite, both on the device."""
        for at, missing in enumerate(self._missing):
            if missing:
                self._step(at)
        self.update.finish()
        assert self._loss is not None
        norms = [self._norms[at] for at in sorted(self._norms)]
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros_like(self._loss)
        self._loss = None
        return norm, torch.stack(self._bad).amax()

    def _ready(self, value: Tensor) -> None:
        if self._loss is None:
            return
        at = self._place[id(value)]
        self._missing[at] -= 1
        if not self._missing[at]:
            self._step(at)

    def _step(self, at: int) -> None:
        own = [value for value in self.groups[at] if value.grad is not None]
        if not own:
            return
        gradients = [value.grad for value in own if value.grad is not None]
        norms = torch._foreach_norm(gradients)
        self._norms |= {self._order[id(value)]: norm for value, norm in zip(own, norms, strict=True)}
        norm = torch.linalg.vector_norm(torch.stack(norms))
        bad = torch.maximum(self._bad[0], (~torch.isfinite(norm)).float())
        self._bad.append(bad)
        if self.clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(own, self.clip_norm, norm)
        self.update.part(own, bad)
        for value in own:
            value.grad = None


def _split(parameters: Sequence[nn.Parameter], groups: int) -> list[list[nn.Parameter]]:
    if not groups:
        return [[value] for value in parameters]
    limit = sum(value.numel() for value in parameters) / groups
    split: list[list[nn.Parameter]] = [[]]
    for value in parameters:
        if split[-1] and sum(one.numel() for one in split[-1]) >= limit:
            split.append([])
        split[-1].append(value)
    return split


def release_of(
    plan: Plan, parameters: Sequence[nn.Parameter], update: Update, world: World
) -> Release | None:
    """As the plan asks; none where gradients are kept until the end of the backward pass."""
    asked = plan.hardware.fused_backward
    if asked == "off":
        return None
    assert world.size == 1, "gradients that are freed cannot be added up over processes"
    return Release(parameters, update, plan.train.clip_norm, GROUPS if asked == "groups" else 0)
