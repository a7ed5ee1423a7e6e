"""Weights of the loss by timestep and where Huber's delta stands, at single timesteps and without a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from engine.families.variance_preserving import VariancePreserving
from engine.models.published import published
from engine.plan.objective import Objective, bands_of
from engine.train.loss_weights import timestep_weights
from engine.train.objective import sample_losses
from tests.support.loss_formulas import WEIGHTS

TIMES = (0, 1, 300, 499, 500, 600, 899, 900, 950, 999)


def _config(prediction: str, zero: bool) -> dict[str, Any]:
    return published("sd1", "scheduler") | {"prediction_type": prediction, "rescale_betas_zero_snr": zero}


def _snrs(config: dict[str, Any]) -> list[float]:
    alphas = DDPMScheduler.from_config(config).alphas_cumprod.double()
    return [float(alphas[time] / (1 - alphas[time])) for time in TIMES]


def _weights(config: dict[str, Any], changes: dict[str, object]) -> list[float]:
    schedule = VariancePreserving.from_config(config)
    found = timestep_weights(schedule, torch.tensor(TIMES), Objective.model_validate(changes))
    assert found is not None and found.dtype == torch.float32 and found.shape == (len(TIMES),)
    weights: list[float] = found.tolist()
    return weights


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_the_noises_error_are_their_formulas(name: str) -> None:
    changes, weight = WEIGHTS[name]
    config = _config("epsilon", False)
    expected = [weight(snr, time) for snr, time in zip(_snrs(config), TIMES, strict=True)]
    assert _weights(config, changes) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_a_velocity_are_finite_down_to_no_signal(name: str, zero: bool) -> None:
    """debiased: kohya's 1 / (SNR + 1); p2: OneTrainer's, SNR + 1 in the place of SNR; min-SNR's weights of the noise's
    error times SNR / (SNR + 1)."""
    changes, weight = WEIGHTS[name]
    config = _config("v_prediction", zero)
    expected = []
    for time, ratio in zip(TIMES, _snrs(config), strict=True):
        snr = max(ratio, 1e-12)
        own = {
            "debiased": 1 / (min(max(snr, 1e-3), 1000.0) + 1),
            "p2": 1 / (2 + snr),
            "p2_gamma": 1 / (2 + snr) ** 0.5,
            "band_weights": weight(snr, time),
        }
        expected.append(own.get(name, weight(snr, time) * snr / (snr + 1)))
    assert _weights(config, changes) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_without_an_option_nothing_is_weighed() -> None:
    schedule = VariancePreserving.from_config(_config("epsilon", False))
    assert timestep_weights(schedule, torch.tensor(TIMES), Objective()) is None


def test_debiased_weights_stay_finite_where_there_is_no_signal() -> None:
    weights = _weights(_config("epsilon", True), {"weighting": "debiased"})
    assert weights[-1] == pytest.approx(1000**0.5, rel=1e-4)


def test_bands_are_read_in_any_order_and_meet_without_overlap() -> None:
    found = bands_of(" 500-999:2 ,0-499:0.5")
    assert [(band.low, band.high, band.weight) for band in found] == [(0, 499, 0.5), (500, 999, 2.0)]
    assert bands_of("") == bands_of("  ") == ()
    assert bands_of("7-7:1000")[0].weight == 1000
    for wrong in ("0-499:1,499-600:1", "5-4:1", "0-1000:1", "0-9:1001", "0-9", "9:1", "a-b:1", "0-9:1,"):
        with pytest.raises(ValueError, match=r"overlap|span|weight|FROM-TO"):
            bands_of(wrong)


@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
@pytest.mark.parametrize("residual", [0.0, 0.05, 0.2, -0.2, 0.7, 3.0])
def test_hubers_delta_at_each_timestep(schedule: str, residual: float) -> None:
    """get_huber_threshold_if_needed of kohya's scripts; the loss is Huber's, doubled."""
    config = _config("epsilon", False)
    objective = Objective(loss="huber", huber_delta=0.2, huber_schedule=schedule)  # type: ignore[arg-type]
    target = torch.full((len(TIMES), 4, 2, 2), 0.75)
    found = sample_losses(
        target + residual,
        target,
        torch.tensor(TIMES),
        VariancePreserving.from_config(config),
        objective,
        torch.ones(len(TIMES)),
    )
    expected = []
    for time, snr in zip(TIMES, _snrs(config), strict=True):
        delta = {
            "constant": 0.2,
            "exponential": 0.2 ** (time / 1000),
            "snr": (1 - 0.2) / (1 + snr**-0.5) ** 2 + 0.2,
        }[schedule]
        size = abs(residual)
        expected.append(size**2 if size <= delta else 2 * delta * size - delta**2)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_hubers_delta_has_an_end_where_there_is_no_signal() -> None:
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    schedule = VariancePreserving.from_config(published("sd1", "scheduler") | config)
    objective = Objective(loss="huber", huber_schedule="snr")
    target = torch.zeros(1, 4, 2, 2)
    found = sample_losses(target + 0.5, target, torch.tensor([999]), schedule, objective, torch.ones(1))
    assert float(found) == pytest.approx(2 * 0.1 * 0.5 - 0.01, rel=1e-5)
