"""The table of learning rate schedules: where each begins and ends, and no other name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.plan.schedules import SCHEDULES
from engine.plan.train import Train

FACTORS = {
    "constant": (1.0, 1.0, 1.0, 1.0),
    "linear": (1.0, 0.75, 0.5, 0.0),
    "cosine": (1.0, 0.8535533905932737, 0.5, 0.0),
    "cosine_with_restarts": (1.0, 0.14644660940672627, 0.5, 1.0),
    "polynomial": (1.0, 0.5625, 0.25, 0.0),
    "rex": (1.0, 6 / 7, 2 / 3, 0.0),
    "inverse_sqrt": (1.0, 1.0025**-0.5, 1.005**-0.5, 1.01**-0.5),
    "warmup_stable_decay": (1.0, 1.0, 1.0, 0.0),
    "piecewise_constant": (1.0, 1.0, 0.1, 0.1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_its_factor_at_the_start_a_quarter_half_and_the_end(name: str) -> None:
    train = Train(schedule=name, rate_steps="1:50, 0.1")
    found = [SCHEDULES[name].factor(done, 100, train) for done in (0, 25, 50, 100)]
    assert found == pytest.approx(FACTORS[name])


def test_a_plan_takes_the_names_of_the_table_alone() -> None:
    for name in SCHEDULES:
        assert Train(schedule=name).schedule == name
    with pytest.raises(ValidationError, match="schedule"):
        Train(schedule="step")
