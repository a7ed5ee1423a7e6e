"""A UNet with fresh weights learns the beginning of a small world: its colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.demo import world
from engine.demo.prepare import prepare
from engine.demo.score import agreement, draw_prompts
from engine.plan.build import build, gather
from tests.support.sessions import prepared, run_steps

pytestmark = pytest.mark.soak

SEED = 500


def test_scratch_learns_colours(home: Path, tmp_path: Path) -> None:
    answers = prepare(tmp_path / "demo", "scratch")
    made = prepared(build(answers, gather(answers)).plan, tmp_path / "cache")
    asked = [(colour, shape) for colour in world.COLOURS for shape in ("circle", "square", "heart")]
    prompts = [f"a {colour} {shape}" for colour, shape in asked]
    scenes = [world.Scene(shape=shape, colour=colour, background="white") for colour, shape in asked]
    family = made.ready.family
    family.denoiser.eval()
    before = agreement(draw_prompts(family, prompts, SEED), scenes)
    family.denoiser.train()
    run_steps(made)
    family.denoiser.eval()
    with made.loop.averaged():
        after = agreement(draw_prompts(family, prompts, SEED), scenes)
    print(f"before {before}, after {after}")
    assert before["colour"] < 0.35, "nine colours: chance is 0.11"
    assert after["colour"] > 0.6
