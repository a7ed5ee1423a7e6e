"""The distance between prediction and target, number by number."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.plan.objective import Objective
from engine.train.objective import sample_losses

RESIDUALS = (0.05, -0.05, 0.1, 0.3, -0.3, 1.0, 20.0)
# Delta, residual, loss: e^2 up to delta, 2 delta |e| - delta^2 beyond.
HUBER = [
    (0.1, 0.05, 0.0025), (0.1, -0.05, 0.0025), (0.1, 0.1, 0.01), (0.1, 0.3, 0.05), (0.1, -0.3, 0.05),
    (0.1, 1.0, 0.19), (0.1, 20.0, 3.99), (1.0, 0.3, 0.09), (1.0, 1.0, 1.0), (1.0, 3.0, 5.0),
]  # fmt: skip


def _loss(residual: float, objective: Objective) -> float:
    schedule: Any = None
    target = torch.zeros(1, 4, 2, 2)
    found = sample_losses(target + residual, target, torch.tensor([5]), schedule, objective, torch.ones(1))
    return float(found)


@pytest.mark.parametrize(("delta", "residual", "expected"), HUBER)
def test_huber_is_the_squared_error_up_to_delta_and_a_line_beyond(
    delta: float, residual: float, expected: float
) -> None:
    assert _loss(residual, Objective(loss="huber", huber_delta=delta)) == pytest.approx(expected, rel=1e-5)


def test_a_tenth_is_the_usual_delta() -> None:
    assert _loss(0.3, Objective(loss="huber")) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_mse_reads_no_delta(residual: float) -> None:
    assert _loss(residual, Objective(huber_delta=0.5)) == pytest.approx(residual**2, rel=1e-5)
