"""What the loss of a run's first step is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from engine.families.base import ModelFamily
from engine.plan.schema import Plan
from engine.train import loop
from engine.train.objective import sample_losses
from tests.support.schedules import alphas_of
from tests.support.sessions import prepared, run_steps


@dataclass
class FirstStep:
    """Tensors of the step's samples, [b, c, h, w] or [b]."""

    latents: Tensor
    added: Tensor
    """The noise in what the model sees."""
    target: Tensor
    prediction: Tensor
    times: Tensor
    losses: Tensor
    family: ModelFamily

    @property
    def snr(self) -> list[float]:
        """The signal-to-noise ratio of each sample."""
        alphas = alphas_of(self.family)
        return [float(alphas[time] / (1 - alphas[time])) for time in self.times]

    def errors(self) -> Tensor:
        return self.prediction - self.target


def first_step(plan: Plan, cache: Path, monkeypatch: pytest.MonkeyPatch) -> FirstStep:
    """Of a fresh training; `cache` keeps what is encoded."""
    made = prepared(plan, cache)
    schedule = made.loop.family.schedule
    add_noise = schedule.add_noise
    found: dict[str, Tensor] = {}

    def noisy(latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        found.update(latents=latents, added=noise)
        return add_noise(latents, noise, times)

    def losses(prediction: Tensor, target: Tensor, times: Tensor, *rest: Any) -> Tensor:
        each = sample_losses(prediction, target, times, *rest)
        found.update(prediction=prediction.detach(), target=target, times=times, losses=each.detach())
        return each

    monkeypatch.setattr(schedule, "add_noise", noisy)
    monkeypatch.setattr(loop, "sample_losses", losses)
    run_steps(made, until=1)
    return FirstStep(**found, family=made.loop.family)
