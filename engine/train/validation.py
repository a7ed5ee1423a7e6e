"""The loss of pictures that are never trained on, with draws that stay the same: equal weights give equal bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine import draws
from engine.families.base import Conditioning
from engine.keys import uniform
from engine.plan.objective import Objective
from engine.plan.schema import Plan
from engine.train.ahead import held, sent
from engine.train.ema import Ema
from engine.train.evaluating import evaluating
from engine.train.held_out import HeldOut
from engine.train.loop import Batch, Loop
from engine.train.objective import sample_losses
from engine.train.setup import AdaptedModel
from engine.train.sparing import free_cache


@dataclass(frozen=True)
class Validated:
    """What a validation measured of the weights that previews show.

    `loss` is the mean squared error over all pictures, bands and draws, each as the objective weighs none of them;
    `bands` has that of each band of timesteps by its name, the cleanest first. `raw` is the loss of the last step's own
    weights where `train.ema` keeps an average beside them. `signals` are the method's.
    """

    step: int
    loss: float
    bands: Mapping[str, float]
    pictures: int
    raw: float | None = None
    signals: Mapping[str, float] = field(default_factory=dict)


class Validator:
    """Measures a model that trains, and leaves no trace in it.

    Every draw is keyed by `validation.seed`, the picture's name, band and number, and by no step: what differs between
    two validations is what was learned between them. A band's timesteps are spread over it by stratified draws.
    """

    def __init__(self, plan: Plan, adapted: AdaptedModel, pictures: HeldOut, loop: Loop) -> None:
        self.plan = plan
        self.adapted = adapted
        self.pictures = pictures
        self.loop = loop
        self.limit = loop.limit
        self._bare: float | None = None
        self._leaving: Callable[[], bool] = lambda: False
        own = plan.objective
        # Losses of runs with other objectives can be compared.
        self._plain = Objective(min_timestep=own.min_timestep, max_timestep=own.max_timestep)

    def measure(self, step: int, leaving: Callable[[], bool] = lambda: False) -> Validated:
        """Of the weights as they are after `step`. Where memory runs out, again in smaller batches; at single pictures
        torch.OutOfMemoryError is raised. InterruptedError where `leaving`, which is asked between batches, says so."""
        self._leaving = leaving
        self.limit = min(self.limit, self.loop.limit)
        while True:
            try:
                return self._measured(step)
            except torch.OutOfMemoryError:
                if self.limit == 1:
                    raise
            self.limit = (self.limit + 1) // 2
            free_cache(self.adapted.device)

    def _measured(self, step: int) -> Validated:
        adapted, method, raw = self.adapted, self.adapted.method, None
        with self.loop.averaged():
            with evaluating(adapted):
                bands = self._losses()
                bare = self._contrast() if method.contrast else None
            signals = dict(method.signals(adapted.family))
        if bare is not None:
            signals[method.contrast] = bare
        if isinstance(self.loop.ema, Ema):
            # Autocast remembers its copies of weights until its context ends, so other weights need another one.
            with evaluating(adapted):
                raw = _mean(self._losses())
        names = self._band_names()
        by_band = {name: _mean([losses]) for name, losses in zip(names, bands, strict=True)}
        return Validated(step, _mean(bands), by_band, len(self.pictures.items), raw, signals)

    def _contrast(self) -> float:
        """The loss of the base alone, measured again only where something of the base trains."""
        parts = self.adapted.family.parts.values()
        if self._bare is None or any(value.requires_grad for part in parts for value in part.parameters()):
            self._bare = _mean(self._losses(bare=True))
        return self._bare

    def _losses(self, bare: bool = False) -> list[list[float]]:
        """Of each band the loss of every picture and draw; `bare` leaves out what the method adds to the denoiser."""
        validation = self.plan.validation
        found: list[list[float]] = [[] for _ in range(validation.bands)]
        for batch in self.pictures.batches(self.limit):
            if self._leaving():
                raise InterruptedError("somebody asked the run to leave")
            cond = self.adapted.family.with_geometry(batch.cond(), batch.sizes)
            places = [(band, draw) for band in range(validation.bands) for draw in range(validation.draws)]
            rows = [self._loss(batch, cond, band, draw, bare) for band, draw in places]
            for at, losses in enumerate(torch.stack(rows).tolist()):
                found[at // validation.draws] += losses
        return found

    def _loss(self, batch: Batch, cond: Conditioning, band: int, draw: int, bare: bool) -> Tensor:
        """The loss of each sample, [b]."""
        validation, family = self.plan.validation, self.adapted.family
        names = [self.pictures.names[slot] for slot in batch.slots]
        number, shape = band * validation.draws + draw, tuple(batch.mean.shape[1:])
        latents = batch.mean + batch.std * self._normal("latent", names, number, shape)
        noise = self._normal("noise", names, number, shape)
        places = [
            (band + (draw + uniform(validation.seed, "validation-timestep", name, number)) / validation.draws)
            / validation.bands
            for name in names
        ]
        times = family.schedule.timesteps(places, self._plain, shape).to(latents.device)
        noisy = family.schedule.add_noise(latents, noise, times)
        method = self.adapted.method
        extra = {} if bare else method.residuals(family, noisy, times, cond, batch.extra)
        prediction = family.denoise(noisy, times, cond, extra)
        target = family.schedule.target(latents, noise, times)
        return sample_losses(prediction, target, times, family.schedule, self._plain, batch.weights)

    def _normal(self, purpose: str, names: Sequence[str], number: int, shape: Sequence[int]) -> Tensor:
        seed, device = self.plan.validation.seed, self.adapted.device
        rows = [draws.normal(seed, f"validation-{purpose} {name}", 0, [number], shape) for name in names]
        return sent(held(torch.cat(rows), device), device)

    def _band_names(self) -> Iterator[str]:
        """As "0-249": the ends of each band of the timesteps that are trained."""
        count, low = self.plan.validation.bands, self._plain.min_timestep
        span = self._plain.max_timestep - low + 1
        for band in range(count):
            yield f"{low + span * band // count}-{low + span * (band + 1) // count - 1}"


def _mean(bands: Sequence[Sequence[float]]) -> float:
    losses = [loss for band in bands for loss in band]
    return math.fsum(losses) / len(losses)
