"""The noise schedule is diffusers' own for every prediction type, down to a last step without signal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from engine.errors import UserError
from engine.families.variance_preserving import VariancePreserving
from engine.models.published import published
from engine.plan.objective import Objective
from engine.train.loss_weights import min_snr_weight

TIMES = torch.tensor([0, 1, 500, 998, 999])


def _config(prediction: str = "epsilon", zero: bool = False) -> dict[str, Any]:
    return published("sd1", "scheduler") | {"prediction_type": prediction, "rescale_betas_zero_snr": zero}


def _drawn(seed: int) -> torch.Tensor:
    return torch.randn(len(TIMES), 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("zero", [False, True])
def test_noisy_latents_and_targets_are_diffusers(prediction: str, zero: bool) -> None:
    config = _config(prediction, zero)
    ours, theirs = VariancePreserving.from_config(config), DDPMScheduler.from_config(config)
    latents, noise = _drawn(0), _drawn(1)
    assert torch.allclose(
        ours.add_noise(latents, noise, TIMES), theirs.add_noise(latents, noise, TIMES), atol=1e-6
    )
    target = noise if prediction == "epsilon" else theirs.get_velocity(latents, noise, TIMES)
    assert torch.allclose(ours.target(latents, noise, TIMES), target, atol=1e-6)
    last = float(ours.alphas_cumprod[-1])
    assert last == 0.0 if zero else 0.004 < last < 0.005


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_are_finite_and_those_of_the_paper(prediction: str, zero: bool, gamma: float) -> None:
    schedule = VariancePreserving.from_config(_config(prediction, zero))
    weights = min_snr_weight(schedule, TIMES, gamma)
    snr = schedule.snr(TIMES)
    assert torch.isfinite(weights).all()
    for weight, ratio in zip(weights.tolist(), snr.tolist(), strict=True):
        divisor = ratio if prediction == "epsilon" else ratio + 1
        expected = min(ratio, gamma) / divisor if divisor else 1.0
        assert weight == pytest.approx(expected, rel=1e-5)


def test_a_right_prediction_gives_back_latents_and_noise() -> None:
    latents, noise = _drawn(0), _drawn(1)
    for prediction in ("epsilon", "v_prediction"):
        schedule = VariancePreserving.from_config(_config(prediction))
        noisy = schedule.add_noise(latents, noise, TIMES)
        clean, found = schedule.split(noisy, schedule.target(latents, noise, TIMES), TIMES)
        assert torch.allclose(clean, latents, atol=1e-3) and torch.allclose(found, noise, atol=1e-4)


def test_without_any_signal_predicted_noise_tells_nothing_of_the_latents() -> None:
    schedule = VariancePreserving.from_config(_config("epsilon", zero=True))
    last = torch.tensor([999])
    noise = _drawn(1)[:1]
    clean, found = schedule.split(noise, noise * 0.9, last)
    assert torch.equal(clean, torch.zeros_like(clean)) and torch.equal(found, noise * 0.9)
    velocity = VariancePreserving.from_config(_config("v_prediction", zero=True))
    clean, _ = velocity.split(noise, noise * 0.9, last)
    assert torch.allclose(clean, noise * -0.9)


@pytest.mark.parametrize("ends_on_one", [False, True])
def test_a_sampler_ends_where_diffusers_ends(ends_on_one: bool) -> None:
    config = _config() | {"set_alpha_to_one": ends_on_one}
    ours = VariancePreserving.from_config(config)
    assert ours.final_alpha == pytest.approx(float(DDIMScheduler.from_config(config).final_alpha_cumprod))


@pytest.mark.parametrize("steps", [1, 5, 20, 25, 30, 1000])
def test_the_timetable_is_diffusers_trailing_one(steps: int) -> None:
    theirs = DDIMScheduler.from_config(_config(), timestep_spacing="trailing")
    theirs.set_timesteps(steps)
    assert VariancePreserving.from_config(_config()).timetable(steps, (4, 8, 8)) == theirs.timesteps.tolist()


@pytest.mark.parametrize(
    "change",
    [{"beta_schedule": "squaredcos_cap_v2"}, {"trained_betas": [0.1]}, {"prediction_type": "sample"}],
)
def test_a_schedule_that_is_not_known_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        VariancePreserving.from_config(_config() | change)


@pytest.mark.parametrize("span", [(0, 999), (200, 699), (5, 5)])
def test_every_timestep_of_the_span_is_drawn_equally_often_and_no_other(span: tuple[int, int]) -> None:
    low, high = span
    objective = Objective(min_timestep=low, max_timestep=high)
    count = high - low + 1
    draws = [(place + 0.5) / count for place in range(count)]
    drawn = VariancePreserving.from_config(_config()).timesteps(
        [0.0, *draws, 1 - 2**-53], objective, (4, 8, 8)
    )
    assert drawn.dtype == torch.int64
    assert drawn.tolist() == [low, *range(low, high + 1), high]


def test_cubic_timesteps_come_late() -> None:
    schedule, objective = VariancePreserving.from_config(_config()), Objective(timesteps="cubic")
    drawn = schedule.timesteps([0.0, 0.25, 0.5, 1 - 2**-53], objective, (4, 8, 8))
    assert drawn.tolist() == [999, 984, 875, 0]


def test_the_end_of_a_sampler_keeps_the_variance() -> None:
    clean, noise = torch.zeros(1), torch.ones(1)
    for ends_on_one in (True, False):
        schedule = VariancePreserving.from_config(_config() | {"set_alpha_to_one": ends_on_one})
        signal, sigma = schedule.final(noise, clean), schedule.final(clean, noise)
        assert float(signal) ** 2 == pytest.approx(schedule.final_alpha, rel=1e-6)
        assert float(signal) ** 2 + float(sigma) ** 2 == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    "config", [{"beta_schedule": "linear"}, {"num_train_timesteps": 500}, {"beta_end": 0.02}]
)
def test_noise_rises_as_in_diffusers(config: dict[str, Any]) -> None:
    ours, theirs = (
        VariancePreserving.from_config(_config() | config),
        DDPMScheduler.from_config(_config() | config),
    )
    assert torch.allclose(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-6)


def test_a_config_that_says_nothing_means_stable_diffusions_schedule() -> None:
    silent, said = VariancePreserving.from_config({}), VariancePreserving.from_config(_config())
    assert torch.equal(silent.alphas_cumprod, said.alphas_cumprod)
    assert (silent.prediction, silent.final_alpha) == ("epsilon", 1.0)


@pytest.mark.parametrize("zero", [False, True])
def test_the_signal_to_noise_ratio_is_that_of_the_coefficients(zero: bool) -> None:
    schedule = VariancePreserving.from_config(_config(zero=zero))
    signal, noise = (factor.flatten() for factor in schedule.coefficients(TIMES))
    assert torch.allclose(signal**2 + noise**2, torch.ones(len(TIMES)), rtol=1e-6)
    assert torch.allclose(schedule.snr(TIMES), (signal / noise) ** 2, rtol=1e-4)
