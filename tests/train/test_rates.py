"""Learning rates: a function of step and plan alone, a group for each rate and decay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.methods.base import Trainable
from engine.plan.train import Train
from engine.train.optimizers import make_optimizer, schedule_factor, set_learning_rates
from tests.support.runs import quick_plan


def items(*rates: float | None, decay: bool = True) -> list[Trainable]:
    return [
        Trainable(f"unet.{at}", torch.nn.Parameter(torch.ones(2, 2)), "unet", rate, decay)
        for at, rate in enumerate(rates)
    ]


def test_the_rate_is_a_pure_function_of_step_and_total() -> None:
    linear = Train(steps=10, warmup=2, schedule="linear")
    assert [schedule_factor(step, linear) for step in (1, 2, 3)] == [0.5, 1.0, 1.0]
    assert schedule_factor(10, linear) == pytest.approx(1 / 8)
    cosine = Train(steps=11, warmup=1, schedule="cosine")
    assert schedule_factor(2, cosine) == 1.0
    assert schedule_factor(7, cosine) == pytest.approx(0.5)
    assert [schedule_factor(step, Train(steps=5)) for step in (1, 3, 5)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_run_of_one_step_has_the_whole_rate(warmup: int) -> None:
    assert schedule_factor(1, Train(steps=1, warmup=warmup, schedule="cosine")) == 1.0


def test_parts_of_one_rate_are_a_group_and_each_group_follows_the_factor() -> None:
    plan = quick_plan(Path("/base"), Path("/data"), train__learning_rate=1e-4)
    optimizer = make_optimizer(items(None, 2e-5, None, 2e-5), plan)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 2e-5]
    for factor in (0.5, 0.25):  # of the rate that the plan names, not of what the last step had
        assert set_learning_rates(optimizer, factor) == 1e-4 * factor, "the first group's is told"
        assert [group["lr"] for group in optimizer.param_groups] == [1e-4 * factor, 2e-5 * factor]


def test_what_must_not_decay_has_no_decay() -> None:
    plan = quick_plan(Path("/base"), Path("/data"), optimizer__weight_decay=0.25)
    groups = make_optimizer([*items(None), *items(None, decay=False)], plan).param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]
