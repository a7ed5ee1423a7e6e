"""Each limit of the check: the last value that is fine, and the first that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.planning.check import check
from tests.support.plans import make_plan

LIMITS: list[tuple[str, dict[str, object], object, object]] = [
    ("lora.alpha", {"lora__rank": 8}, 16.0, 17.0),
    ("lora.alpha", {"lora__rank": 64}, 1.0, 0.99),
    ("lora.alpha", {"lora__rank": 64, "lora__rslora": True}, 16.0, 17.0),
    ("lora.alpha", {"lora__rank": 64, "lora__rslora": True}, 0.125, 0.12),
    ("train.warmup", {}, 99, 100),
    ("objective.min_timestep", {"objective__max_timestep": 500}, 499, 500),
    ("objective.noise_offset", {}, 0.2, 0.21),
    ("objective.input_perturbation", {}, 0.3, 0.31),
    ("samples.every", {}, 100, 101),
    ("checkpoints.every", {}, 100, 101),
    ("samples.width", {}, 32, 24),
    ("samples.width", {}, 128, 136),
    ("samples.height", {}, 128, 129),
    ("samples.height", {}, 0, 16),
    ("data.resolution", {}, 120, 128),
    ("data.resolution", {}, 40, 32),
    ("data.resolution", {}, 64, 68),
    ("data.caption_dropout", {}, 0.5, 0.51),
    ("train.batch_size", {"data__bucket": False}, 6, 7),
    ("train.batch_size", {"data__bucket": False, "data__repeats": 2}, 12, 13),
    ("train.learning_rate", {}, 0.05, 0.0501),
    ("train.learning_rate", {}, 2e-5, 1.99e-5),
    (
        "lora.text_encoder_learning_rate",
        {"optimizer__name": "prodigy", "train__learning_rate": 1.0, "lora__text_encoder": True},
        0.01,
        0.00995,
    ),
    ("output.file_name", {}, "x" * 100, "x" * 101),
    ("train.steps", {}, 6000, 6001),
    ("train.steps", {"samples__every": 1, "checkpoints__every": 1}, 3, 2),
]


@pytest.mark.parametrize(("key", "others", "fine", "wrong"), LIMITS)
def test_the_last_fine_value_is_fine_and_the_next_is_not(
    pictures: Path, no_gpu: Machine, key: str, others: dict[str, object], fine: object, wrong: object
) -> None:
    def said(value: object) -> list[str]:
        plan = make_plan(pictures, **others, **{key.replace(".", "__"): value})
        return [problem.what for problem in check(plan, here=no_gpu) if problem.key == key]

    assert said(fine) == []
    assert len(said(wrong)) == 1


@pytest.mark.parametrize(
    ("alpha", "why", "fix"), [(33.0, "overshoot", "4 and 8"), (0.1, "little", "4 and 8")]
)
def test_a_scale_is_wrong_in_one_of_two_ways(
    pictures: Path, no_gpu: Machine, alpha: float, why: str, fix: str
) -> None:
    problems = check(make_plan(pictures, lora__rank=8, lora__alpha=alpha), here=no_gpu)
    (problem,) = (problem for problem in problems if problem.key == "lora.alpha")
    assert why in problem.why
    assert fix in problem.fix
