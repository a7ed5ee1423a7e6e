"""How far a frozen denoiser's answers move when its weights are kept in fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from engine import draws
from engine.families.base import Conditioning, Geometry, ModelFamily
from engine.plan.objective import Objective

UNIFORMS = (0.1, 0.35, 0.6, 0.85)
"""Which timesteps are looked at, as the schedule's own uniform draws."""
LARGEST = 512
"""Answers for larger pictures than this (in pixels) are not asked: the drift is that of the weights."""


class Drift:
    """Asks a denoiser the same few questions again and again."""

    def __init__(
        self,
        family: ModelFamily,
        side: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """`side` is that of the pictures in pixels. The text encoders embed the empty caption where they are."""
        side = min(side, LARGEST) // 64 * 64 or side
        self.family, self.device, self.autocast = family, device, autocast
        self._sizes = [Geometry((side, side), (0, 0), (side, side))] * len(UNIFORMS)
        fold = family.spec.downscale
        shape = (family.spec.latent_channels, side // fold, side // fold)
        self._noisy = draws.normal(0, "drift", 0, range(len(UNIFORMS)), shape)
        self._times = family.schedule.timesteps(UNIFORMS, Objective(), shape)
        with torch.no_grad():
            self._cond = family.encode_text(family.tokenize([""] * len(UNIFORMS))).map(Tensor.cpu)

    @torch.no_grad()
    def answers(self) -> Tensor:
        """The denoiser's predictions, [4, c, h, w] in fp32 on the CPU; one at a time."""
        denoiser, found = self.family.denoiser, []
        trains = denoiser.training
        denoiser.eval()
        cond = self.family.with_geometry(self._cond, self._sizes).map(lambda value: value.to(self.device))
        try:
            for at in range(len(UNIFORMS)):
                one: Conditioning = cond.map(lambda value, at=at: value[at : at + 1])
                with self.autocast():
                    made = self.family.denoise(
                        self._noisy[at : at + 1].to(self.device),
                        self._times[at : at + 1].to(self.device),
                        one,
                        {},
                    )
                found.append(made.float().cpu())
        finally:
            denoiser.train(trains)
        return torch.cat(found)


def distance(before: Tensor, after: Tensor) -> float:
    """The norm of the difference by the norm of `before`."""
    return float((after - before).norm() / before.norm())
