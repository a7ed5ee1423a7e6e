"""What goes with an optimiser, with weights in bf16 and with the fused backward pass, and what is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.plan.optimizers import OPTIMIZERS
from engine.planning.build import build, gather
from engine.planning.check import check
from tests.planning.test_build import getattr_path
from tests.planning.test_check import problems_of
from tests.support.plans import make_plan

BF16: dict[str, object] = {"train__weights": "bf16", "train__precision": "bf16"}
FUSED: dict[str, object] = {"hardware__fused_backward": "weights", "train__clip_norm": 0.0}
WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"optimizer__name": "schedule_free", "train__schedule": "cosine"}, "train.schedule", "error"),
    ({"optimizer__name": "schedule_free", "train__ema": 0.9}, "train.ema", "error"),
    ({"optimizer__name": "schedule_free", "optimizer__beta1": 0.0}, "optimizer.beta1", "error"),
    ({"optimizer__name": "adafactor_relative", "train__schedule": "rex"}, "train.schedule", "error"),
    ({"optimizer__name": "adafactor_relative"}, "train.learning_rate", "error"),
    ({"optimizer__name": "paged_adamw8bit", "hardware__device": "cpu"}, "optimizer.name", "warning"),
    ({"optimizer__name": "lion", "train__learning_rate": 2e-2}, "train.learning_rate", "warning"),
    ({"optimizer__name": "lion", "optimizer__epsilon": 1e-6}, "optimizer.epsilon", "warning"),
    ({"train__weights": "bf16", "train__precision": "fp32"}, "train.weights", "error"),
    ({"train__weights": "bf16"}, "train.weights", "error"),
    ({**BF16, "optimizer__name": "schedule_free"}, "train.weights", "error"),
    ({**BF16, "optimizer__name": "prodigy", "train__learning_rate": 1.0}, "train.weights", "error"),
    ({**FUSED, "train__gradient_accumulation": 2}, "hardware.fused_backward", "error"),
    ({**FUSED, "train__clip_norm": 1.0}, "hardware.fused_backward", "error"),
    ({**FUSED, "train__precision": "fp16"}, "hardware.fused_backward", "error"),
    ({**FUSED, "optimizer__name": "schedule_free"}, "hardware.fused_backward", "error"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:60])
def test_what_does_not_go_together_is_said_with_reason_and_remedy(
    pictures: Path, no_gpu: Machine, changes: dict[str, object], key: str, level: str
) -> None:
    found = problems_of(check(make_plan(pictures, **changes), here=no_gpu), key)
    assert [problem.level for problem in found] == [level]
    assert all(problem.what and problem.fix for problem in found)


RIGHT: list[dict[str, object]] = [
    BF16,
    FUSED,
    {"hardware__fused_backward": "groups", "train__clip_norm": 1.0},
    {**FUSED, **BF16, "optimizer__name": "adafactor"},
    {"optimizer__name": "schedule_free", "train__warmup": 10},
    {"optimizer__name": "lion", "train__learning_rate": 2e-5},
]


@pytest.mark.parametrize("changes", RIGHT, ids=lambda value: str(value)[:60])
def test_what_goes_together_is_not_complained_of(
    changes: dict[str, object], pictures: Path, no_gpu: Machine
) -> None:
    assert check(make_plan(pictures, **changes), here=no_gpu) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_plan_made_for_an_optimiser_passes_its_check(name: str, pictures: Path, no_gpu: Machine) -> None:
    answers = {"base.model": "builtin:tiny", "data.path": str(pictures), "optimizer.name": name}
    built = build(answers, gather(answers, no_gpu))
    spec, usual = (
        OPTIMIZERS[name],
        build({**answers, "optimizer.name": "adamw"}, gather(answers, no_gpu)).plan,
    )
    assert check(built.plan, here=no_gpu) == []
    rate = spec.learning_rate or usual.train.learning_rate
    assert rate * spec.rates[0] * 0.9 <= built.plan.train.learning_rate <= rate * spec.rates[1] * 1.1
    for key, value in spec.values.items():
        assert getattr_path(built.plan, key) == value


@pytest.mark.parametrize("asked", [{"hardware.fused_backward": "weights"}, {"train.weights": "bf16"}])
def test_a_plan_made_for_less_memory_passes_its_check(
    asked: dict[str, object], pictures: Path, no_gpu: Machine
) -> None:
    answers = {"base.model": "builtin:tiny", "data.path": str(pictures), **asked}
    assert check(build(answers, gather(answers, no_gpu)).plan, here=no_gpu) == []
