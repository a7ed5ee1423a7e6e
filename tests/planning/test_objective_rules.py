"""Rules of the objective: what does not go together is named, and what does raises nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.models.specs import FAMILIES
from engine.planning.check import check
from tests.planning.test_check import problems_of
from tests.support.plans import make_plan

WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"objective__huber_schedule": "snr"}, "objective.huber_schedule", "warning"),
    ({"objective__soft_min_snr": True}, "objective.soft_min_snr", "warning"),
    ({"objective__p2_gamma": 0.5}, "objective.p2_gamma", "warning"),
    ({"objective__timestep_mean": 0.5}, "objective.timestep_mean", "warning"),
    (
        {"objective__timesteps": "sigmoid", "objective__timestep_mean": 0.5},
        "objective.timestep_mean",
        "warning",
    ),
    (
        {"objective__timesteps": "cubic", "objective__timestep_spread": 0.5},
        "objective.timestep_spread",
        "warning",
    ),
    ({"objective__pyramid_discount": 0.5}, "objective.pyramid_discount", "warning"),
    ({"objective__pyramid_noise": 6, "objective__noise_offset": 0.05}, "objective.pyramid_noise", "error"),
    (
        {"objective__pyramid_noise": 6, "objective__adaptive_noise_offset": 0.05},
        "objective.pyramid_noise",
        "error",
    ),
    ({"objective__adaptive_noise_offset": -0.1}, "objective.adaptive_noise_offset", "warning"),
    ({"objective__input_perturbation": 0.5}, "objective.input_perturbation", "warning"),
    ({"objective__weighting": "p2", "objective__min_snr_gamma": 5.0}, "objective.weighting", "error"),
    ({"objective__band_weights": "0-499"}, "objective.band_weights", "error"),
    ({"objective__band_weights": "0-499:1, 400-600:1"}, "objective.band_weights", "error"),
    ({"objective__band_weights": "0-1000:1"}, "objective.band_weights", "error"),
    ({"objective__band_weights": "0-9:-1"}, "objective.band_weights", "error"),
    ({"objective__band_weights": "0-9:nan"}, "objective.band_weights", "error"),
    ({"objective__band_weights": "0-499:0,500-999:0"}, "objective.band_weights", "error"),
    (
        {
            "objective__band_weights": "100-900:0",
            "objective__min_timestep": 200,
            "objective__max_timestep": 800,
        },
        "objective.band_weights",
        "error",
    ),
    (
        {"objective__band_weights": "0-99:2", "objective__min_timestep": 200},
        "objective.band_weights",
        "warning",
    ),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:40])
def test_what_does_nothing_or_contradicts_is_named(
    pictures: Path, no_gpu: Machine, changes: dict[str, object], key: str, level: str
) -> None:
    found = [
        one for one in check(make_plan(pictures, **changes), here=no_gpu) if one.key.startswith("objective")
    ]
    assert [(problem.key, problem.level) for problem in found] == [(key, level)]
    assert found[0].what and found[0].why and found[0].fix


def test_what_goes_by_the_snr_is_refused_in_a_family_that_has_none(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, dict[str, object]] = {
        "min_snr_gamma": {"objective__min_snr_gamma": 5.0},
        "weighting": {"objective__weighting": "debiased"},
        "huber_schedule": {"objective__loss": "huber", "objective__huber_schedule": "snr"},
    }
    plans = {name: make_plan(pictures, **changes) for name, changes in asked.items()}
    fine = make_plan(
        pictures,
        objective__loss="huber",
        objective__huber_schedule="exponential",
        objective__band_weights="0-9:2",
    )
    assert not any(problems_of(check(plan, here=no_gpu), f"objective.{name}") for name, plan in plans.items())
    monkeypatch.setitem(FAMILIES, "sd1", replace(FAMILIES["sd1"], provides=frozenset({"text_encoder"})))
    for name, plan in plans.items():
        assert [one.level for one in problems_of(check(plan, here=no_gpu), f"objective.{name}")] == ["error"]
    assert [one for one in check(fine, here=no_gpu) if one.key.startswith("objective")] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"objective__loss": "huber", "objective__huber_schedule": "snr", "objective__huber_delta": 0.2},
        {"objective__min_snr_gamma": 5.0, "objective__soft_min_snr": True},
        {"objective__weighting": "p2", "objective__p2_gamma": 0.5},
        {"objective__timesteps": "logit_normal", "objective__timestep_mean": 0.5},
        {"objective__timesteps": "sigmoid", "objective__timestep_spread": 0.5},
        {"objective__pyramid_noise": 6, "objective__pyramid_discount": 0.4},
        {"objective__noise_offset": 0.05, "objective__adaptive_noise_offset": -0.1},
        {"objective__band_weights": "0-499:0, 600-999:0", "objective__input_perturbation": 0.1},
    ],
)
def test_options_of_the_objective_that_go_together_raise_nothing(
    pictures: Path, no_gpu: Machine, changes: dict[str, object]
) -> None:
    found = check(make_plan(pictures, **changes), here=no_gpu)
    assert [one for one in found if one.key.startswith("objective")] == []
