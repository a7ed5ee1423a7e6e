"""Learning rate schedules: pure functions of step and total, with the values of those who published them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.optimization import get_piecewise_constant_schedule
from torch.optim.lr_scheduler import LambdaLR
from transformers import optimization as reference

from engine.plan.schedules import SCHEDULES
from engine.plan.train import Train
from engine.train.optimizers import schedule_factor

STEPS, WARMUP = 60, 8
# The schedule's fields, and the same schedule of transformers or diffusers; REX is its paper's formula.
REFERENCES: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer], LambdaLR]]] = {
    "constant": ({}, lambda made: reference.get_constant_schedule_with_warmup(made, WARMUP)),
    "linear": ({}, lambda made: reference.get_linear_schedule_with_warmup(made, WARMUP, STEPS)),
    "cosine": (
        {"end_share": 0.1},
        lambda made: reference.get_cosine_with_min_lr_schedule_with_warmup(
            made, WARMUP, STEPS, min_lr_rate=0.1
        ),
    ),
    "cosine_with_restarts": (
        {"cycles": 4},
        lambda made: reference.get_cosine_with_hard_restarts_schedule_with_warmup(made, WARMUP, STEPS, 4),
    ),
    "polynomial": (
        {"power": 1.7, "end_share": 0.01},
        lambda made: reference.get_polynomial_decay_schedule_with_warmup(made, WARMUP, STEPS, 0.01, 1.7),
    ),
    "inverse_sqrt": ({}, lambda made: reference.get_inverse_sqrt_schedule(made, WARMUP)),
    "rex": (
        {},
        lambda made: LambdaLR(
            made,
            lambda at: (1 - (at - WARMUP) / (STEPS - WARMUP)) / (1 - (at - WARMUP) / (STEPS - WARMUP) / 2),
        ),
    ),
    "warmup_stable_decay": (
        {"decay_share": 0.25, "end_share": 0.05},
        lambda made: reference.get_wsd_schedule(
            made, WARMUP, 13, STEPS, decay_type="1-sqrt", min_lr_ratio=0.05
        ),
    ),
    "piecewise_constant": (
        {"rate_steps": "1:20, 0.3:31, 0.01"},
        lambda made: get_piecewise_constant_schedule(made, "1:20,0.3:31,0.01"),
    ),
}


def test_every_schedule_has_a_reference() -> None:
    assert REFERENCES.keys() == SCHEDULES.keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_values_after_the_warm_up_are_those_of_the_reference(name: str) -> None:
    fields, reference_of = REFERENCES[name]
    train = Train(steps=STEPS, warmup=WARMUP, schedule=name, **fields)
    expected = reference_of(torch.optim.SGD([torch.zeros(1)], lr=1.0)).lr_lambdas[0]
    for step in range(WARMUP + 1, STEPS + 1):
        assert schedule_factor(step, train) == pytest.approx(expected(step - 1), abs=1e-12), step


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_updates_rise_and_the_first_after_them_has_the_whole_rate(name: str) -> None:
    train = Train(steps=10, warmup=2, schedule=name, **REFERENCES[name][0])
    assert [schedule_factor(step, train) for step in (1, 2, 3)] == [0.5, 1.0, 1.0]
    assert schedule_factor(1, train.model_copy(update={"warmup": 0})) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 100_000_000])
def test_any_number_of_steps_will_do(name: str, steps: int) -> None:
    train = Train(steps=steps, schedule=name, **REFERENCES[name][0])
    assert all(0 <= schedule_factor(step, train) <= 1 for step in {1, (steps + 1) // 2, steps})


def test_a_restart_has_the_whole_rate_again() -> None:
    train = Train(steps=90, schedule="cosine_with_restarts", cycles=3)
    assert [schedule_factor(step, train) for step in (1, 31, 61)] == [1.0, 1.0, 1.0]
    assert schedule_factor(30, train) < 0.01
