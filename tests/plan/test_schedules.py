"""The table of learning rate schedules: where each begins and ends, and no other name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.plan.schedules import SCHEDULES
from engine.plan.schema import Train

FACTORS = {
    "constant": (1.0, 1.0, 1.0, 1.0),
    "linear": (1.0, 0.75, 0.5, 0.0),
    "cosine": (1.0, 0.8535533905932737, 0.5, 0.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_its_factor_at_the_start_a_quarter_half_and_the_end(name: str) -> None:
    assert [SCHEDULES[name].factor(done) for done in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(FACTORS[name])


def test_a_plan_takes_the_names_of_the_table_alone() -> None:
    for name in SCHEDULES:
        assert Train(schedule=name).schedule == name
    with pytest.raises(ValidationError, match="schedule"):
        Train(schedule="step")
