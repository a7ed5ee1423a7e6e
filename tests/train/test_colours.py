"""Changes of colour: off they keep every bit; each changes the picture that is shown and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import open_training
from engine.dataset.colours import NAMES, Colours, recoloured
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps

PICTURE = np.random.default_rng(1).integers(60, 160, (16, 24, 3), dtype=np.uint8)
GREY = np.repeat(PICTURE[:, :, :1], 3, axis=2)


def test_each_change_does_what_it_says() -> None:
    assert np.array_equal(recoloured(PICTURE, Colours()), PICTURE)
    brighter = recoloured(PICTURE, Colours(brightness=0.25))
    assert np.allclose(brighter, PICTURE * 1.25)
    flat = recoloured(PICTURE, Colours(contrast=-1.0))
    assert np.ptp(flat) < 1e-3
    grey = recoloured(PICTURE, Colours(saturation=-1.0))
    assert np.ptp(grey, axis=2).max() < 1e-3
    assert np.abs(recoloured(GREY, Colours(hue=0.3)) - GREY).max() < 0.1, "grey has no hue"
    turned = recoloured(PICTURE, Colours(hue=0.3))
    assert np.abs(turned - PICTURE).max() > 10
    assert np.abs(recoloured(PICTURE, Colours(hue=1.0)) - PICTURE).max() < 0.1, "a whole turn"
    assert recoloured(PICTURE * 2, Colours(brightness=1.0)).max() <= 255


@pytest.mark.parametrize("name", NAMES)
def test_a_colour_changes_the_pictures_and_nothing_else(name: str, small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set")
    plain = prepared(quick_plan(small_sd1, folder, data__cache_latents="off"), tmp_path / "cache")
    plan = quick_plan(small_sd1, folder, **{f"data__{name}": 0.5})
    assert not plan.caches_latents
    made = prepared(plan, tmp_path / "cache")
    for step in range(1, 4):
        (before,), (after,) = plain.feed.step(step, 2), made.feed.step(step, 2)
        assert not torch.equal(before.mean, after.mean)
        assert before.slots == after.slots and torch.equal(before.weights, after.weights)
        assert torch.equal(before.cond().rows()["hidden"], after.cond().rows()["hidden"])
    off = prepared(
        quick_plan(small_sd1, folder, data__cache_latents="off", **{f"data__{name}": 0.0}), tmp_path / "cache"
    )
    assert [one.loss for one in run_steps(plain)] == [one.loss for one in run_steps(off)]


def test_three_steps_and_three_are_six(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set")
    plan = quick_plan(small_sd1, folder, data__brightness=0.2, data__hue=0.1, data__saturation=0.3)
    straight = open_training(plan, cache=tmp_path / "cache")
    straight.train()
    for steps in (3, 3):
        with open_training(plan, tmp_path / "run", cache=tmp_path / "cache") as made:
            made.train(steps)
            made.save()
    assert made.losses == straight.losses[3:]
    ends = zip(made.adapted.trainables, straight.adapted.trainables, strict=True)
    assert all(torch.equal(one.parameter, other.parameter) for one, other in ends)
