"""A LoRA teaches the built-in model a style that its world never contains, read off pictures of held-out prompts."""

from __future__ import annotations

from pathlib import Path

from engine.demo import styles, world
from engine.demo.prepare import prepare
from engine.demo.score import draw_prompts, mean_score
from engine.plan.build import build, gather
from tests.support.sessions import prepared, run_steps

PROMPTS = 24
SEED = 500


def test_lora_learns_the_style_and_keeps_colour_and_shape(home: Path, tmp_path: Path) -> None:
    answers = prepare(tmp_path / "demo", "lora")
    plan = build(answers, gather(answers)).plan
    made = prepared(plan, tmp_path / "cache")
    scenes = [scene for _, scene in world.held_out_prompts(PROMPTS, seed=3)]
    prompts = [f"{plan.data.trigger}, a {scene.colour} {scene.shape}" for scene in scenes]
    family = made.ready.family
    family.denoiser.eval()
    before = mean_score(draw_prompts(family, prompts, SEED), styles.zil_score)
    family.denoiser.train()
    reports = run_steps(made)
    assert not any(report.skipped for report in reports)
    family.denoiser.eval()
    pictures = draw_prompts(family, prompts, SEED)
    after = mean_score(pictures, styles.zil_score)
    read = [styles.read_zil(picture) for picture in pictures]
    colours = sum(colour == scene.colour for (colour, _), scene in zip(read, scenes, strict=True)) / PROMPTS
    shapes = sum(shape == scene.shape for (_, shape), scene in zip(read, scenes, strict=True)) / PROMPTS
    print(f"zil score before {before:.3f} after {after:.3f}; colour {colours:.2f}, shape {shapes:.2f}")
    assert before < 0.1
    assert after > 0.8
    # Chance is 1/9 for a colour and 1/8 for a shape.
    assert colours > 0.6
    assert shapes > 0.4
