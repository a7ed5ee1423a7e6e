"""Full fine-tuning teaches the built-in model a style that its world never contains, text encoder included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.demo import styles, world
from engine.demo.prepare import prepare
from engine.demo.score import agreement, draw_prompts, mean_score
from engine.families.base import ModelFamily
from engine.plan.build import build, gather
from tests.support.sessions import prepared, run_steps

pytestmark = pytest.mark.soak

PROMPTS = 24
SEED = 500


def _score(family: ModelFamily, prompts: list[str]) -> float:
    for part in family.parts.values():
        part.eval()
    return mean_score(draw_prompts(family, prompts, SEED), styles.zil_score)


def test_full_training_learns_the_style_on_combinations_it_never_saw(home: Path, tmp_path: Path) -> None:
    answers = prepare(tmp_path / "demo", "full")
    made = prepared(build(answers, gather(answers)).plan, tmp_path / "cache")
    scenes = [scene for _, scene in world.held_out_prompts(PROMPTS, seed=3)]
    plain = [f"a {scene.colour} {scene.shape}" for scene in scenes]
    styled = [f"zil style, {text}" for text in plain]
    family = made.ready.family
    before = _score(family, styled)
    assert all(np.isfinite(report.loss) for report in run_steps(made))
    with made.loop.averaged():
        after = _score(family, styled)
        unasked = _score(family, plain)
        read = [styles.read_zil(picture) for picture in draw_prompts(family, styled, SEED)]
        kept = agreement(draw_prompts(family, plain, SEED), scenes)
    colours = sum(colour == scene.colour for (colour, _), scene in zip(read, scenes, strict=True)) / PROMPTS
    print(f"zil {before:.3f} -> {after:.3f}, unasked {unasked:.3f}, colours {colours:.2f}; plain keep {kept}")
    assert before < 0.1
    assert after > 0.6
    assert colours > 0.5, "the style must not swallow what the prompt says"
