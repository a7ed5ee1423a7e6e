"""What a forecast says of validations: their time, and the checkpoint that is kept for the best step."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from engine.cost.estimate import estimate
from engine.cost.machine import Machine
from engine.dataset.scan import scan
from engine.models.bases import locate
from tests.cost.test_estimate import earlier_run, size
from tests.support.plans import card, make_plan

pytestmark = pytest.mark.usefixtures("home")


def test_time_counts_validations(pictures: Path) -> None:
    plan = make_plan(pictures, train__steps=300, train__batch_size=2)
    earlier_run(plan.model_copy(update={"name": "earlier", "seed": 5}), 10.0, platform.node())
    # 2 of 6 pictures, 3 bands, 2 draws, before the first step and after 100, 200 and 300: 48 forward passes, of which
    # a picture's step is worth two and a half.
    held = {
        "validation__every": 100,
        "validation__share": 0.34,
        "validation__bands": 3,
        "validation__draws": 2,
    }

    def seconds(**changes: object) -> float:
        own = make_plan(pictures, train__steps=300, train__batch_size=2, **{**held, **changes})
        found = estimate(own, locate("builtin:tiny"), scan(pictures, resolution=64), card(8))
        assert found.seconds is not None and "for validation" in found.seconds_why
        return found.seconds

    assert seconds() == pytest.approx(60.0 + 48 / 2.5 / 10)
    assert seconds(train__ema=0.9) == pytest.approx(60.0 + 2 * 48 / 2.5 / 10)
    assert seconds(validation__every=299) == pytest.approx(60.0 + 36 / 2.5 / 10)
    assert seconds(validation__path="/others", validation__pictures=10) == pytest.approx(
        60.0 + 240 / 2.5 / 10
    )


def test_a_plan_that_does_not_validate_says_nothing_of_it(pictures: Path) -> None:
    plan = make_plan(pictures, train__steps=300, train__batch_size=2)
    earlier_run(plan.model_copy(update={"name": "earlier", "seed": 5}), 10.0, platform.node())
    found = estimate(plan, locate("builtin:tiny"), scan(pictures, resolution=64), card(8))
    assert found.seconds == pytest.approx(60.0) and "validation" not in found.seconds_why


def test_the_best_steps_checkpoint_takes_its_space(pictures: Path) -> None:
    def checkpoints(**changes: object) -> int:
        plan = make_plan(pictures, checkpoints__keep=1, **changes)
        return size(
            estimate(plan, locate("builtin:tiny"), scan(pictures, resolution=64), card(8)), "checkpoints"
        )

    one = checkpoints()
    assert checkpoints(validation__every=10) == 1.5 * one
    assert checkpoints(validation__every=10, validation__keep_best=False) == one


def test_a_clip_model_lies_in_main_memory(pictures: Path, tmp_path: Path, no_gpu: Machine) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(3_000_000))
    plan = make_plan(pictures, samples__clip=str(tmp_path))
    base = locate("builtin:tiny")
    assert (
        dict(estimate(plan, base, None, no_gpu).vram_parts)["the CLIP model that compares previews"]
        == 3_000_000
    )
    assert not any("CLIP" in name for name, _ in estimate(plan, base, None, card(8)).vram_parts)
