"""The loss of a sample: its form, its weights and the noise it is measured by."""

from __future__ import annotations

import pytest
import torch

from engine.families.variance_preserving import VariancePreserving
from engine.models.published import published
from engine.plan.objective import Objective
from engine.train.noise import offset_noise
from engine.train.objective import sample_losses

SCHEDULE = VariancePreserving.from_config(published("sd1", "scheduler"))
TIMES = torch.tensor([0, 999])
SHAPE = (2, 4, 2, 2)


def losses(
    off: list[float],
    weights: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **objective: object,
) -> list[float]:
    """The losses of two samples, of which each is off by the same number everywhere."""
    target = torch.full(SHAPE, 0.5, dtype=dtype)
    prediction = target + torch.tensor(off, dtype=dtype).view(2, 1, 1, 1)
    settings = Objective.model_validate(objective)
    found = sample_losses(
        prediction, target, TIMES, SCHEDULE, settings, torch.ones(2) if weights is None else weights
    )
    assert found.shape == (2,) and found.dtype == torch.float32
    return found.tolist()


def test_each_sample_has_the_mean_of_its_own_squared_errors() -> None:
    assert losses([1.0, -3.0]) == [1.0, 9.0]
    assert losses([0.5, 2.0], dtype=torch.bfloat16) == [0.25, 4.0]


def test_a_weight_of_a_sample_multiplies_its_loss() -> None:
    assert losses([1.0, 2.0], weights=torch.tensor([3.0, 0.5])) == [3.0, 2.0]


def test_a_map_weighs_places_and_the_mean_stays_over_all_of_them() -> None:
    places = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]).unsqueeze(1)
    assert losses([1.0, 2.0], weights=places) == [0.5, 2.0]


def test_min_snr_weakens_the_clean_timesteps_and_leaves_the_noisy_ones() -> None:
    ratio = float(SCHEDULE.snr(TIMES)[0])
    clean, noisy = losses([1.0, 1.0], min_snr_gamma=5.0)
    assert clean == pytest.approx(5.0 / ratio, rel=1e-5)
    assert noisy == 1.0
    assert losses([1.0, 1.0], min_snr_gamma=0.0) == [1.0, 1.0]


def test_an_offset_is_one_number_a_channel_of_the_strength_that_is_asked_for() -> None:
    noise, offset = torch.zeros(1, 2, 3, 3), torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    shifted = offset_noise(noise, offset, 0.5)
    assert torch.equal(shifted[0, 0], torch.full((3, 3), 0.5))
    assert torch.equal(shifted[0, 1], torch.full((3, 3), -1.0))
    assert torch.equal(offset_noise(noise, offset, 0.0), noise)
