"""With masks the built-in model learns a subject and not what stands around it in every picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.demo import styles, world
from engine.demo.checker import border_colour
from engine.demo.prepare import prepare
from engine.demo.score import mean_score
from engine.demo.world import Picture
from engine.planning.build import build, gather
from tests.learning.conftest import Record
from tests.learning.lessons import drawn
from tests.support.sessions import prepared, run_steps

TEAL = (0, 130, 130)
"""A ground that the world does not have."""
PROMPTS = ["a blim circle"] * 12


def _write(pictures: Path) -> None:
    """Every blim stands on teal; its mask is where two grounds make no difference."""
    for index, file in enumerate(sorted(pictures.glob("*.png"))):
        scene = replace(world.scene_at(11, index), size="large")
        white, black = (
            styles.render_blim(replace(scene, background=ground), index).astype(int)
            for ground in ("white", "black")
        )
        alike = (abs(white - black).sum(2) < 20)[:, :, None]
        Image.fromarray(np.where(alike, white, TEAL).astype(np.uint8)).save(file)
        mask = Image.fromarray(alike[:, :, 0].astype(np.uint8) * np.uint8(255))
        mask.save(file.with_name(f"{file.stem}-masklabel.png"))


def _teal(pictures: list[Picture]) -> float:
    """The share of pictures whose border is nearer to teal than to any ground of the world."""
    own = np.array([*world.BACKGROUNDS.values(), TEAL], dtype=np.float32)
    nearest = [int(np.linalg.norm(own - border_colour(one), axis=1).argmin()) for one in pictures]
    return sum(at == len(own) - 1 for at in nearest) / len(nearest)


def test_what_a_mask_leaves_out_is_not_learnt(home: Path, tmp_path: Path, record: Record) -> None:
    seen: dict[str, list[Picture]] = {}
    for masks in ("off", "files"):
        folder = tmp_path / masks
        answers = {**prepare(folder / "demo", "dreambooth"), "data.class_count": 0, "data.class_prompt": ""}
        _write(folder / "demo" / "pictures")
        answers |= {
            "data.masks": masks,
            "data.unmasked_weight": 0.0,
            "hardware.device": "cpu",
            "samples.every": 0,
        }
        made = prepared(build(answers, gather(answers)).plan, folder / "cache")
        run_steps(made)
        seen[masks] = drawn(made, PROMPTS)
    subject = {masks: mean_score(pictures, styles.blim_score) for masks, pictures in seen.items()}
    teal = {masks: _teal(pictures) for masks, pictures in seen.items()}
    record(
        "masks",
        list(seen.values()),
        subject_whole=subject["off"],
        subject_masked=subject["files"],
        teal_whole=teal["off"],
        teal_masked=teal["files"],
    )
    assert teal["off"] > 0.7, "without masks the ground is learnt with the subject"
    assert teal["files"] < 0.2
    assert subject["files"] > 0.4, "the subject is learnt all the same"
