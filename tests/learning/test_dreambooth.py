"""DreamBooth teaches the built-in model a subject; prior preservation keeps the class that it is called by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.demo import styles, world
from engine.demo.checker import read_picture
from engine.demo.prepare import prepare
from engine.demo.score import draw_prompts, mean_score
from engine.families.base import ModelFamily
from engine.plan.build import build, gather
from tests.support.sessions import prepared, run_steps

pytestmark = pytest.mark.soak

SEED = 500
SUBJECT = [
    f"a blim circle{place} on a {ground} background"
    for place in ("", " on the left", " on the right")
    for ground in world.BACKGROUNDS
]
CLASS = [text.replace("blim ", "") for text in SUBJECT]


def _keeps(family: ModelFamily) -> tuple[float, float]:
    """Of plain circles in the same places: the share that are circles, and how much blim is in them."""
    pictures = draw_prompts(family, CLASS, SEED)
    circles = sum(read_picture(picture).shape == "circle" for picture in pictures) / len(pictures)
    return circles, mean_score(pictures, styles.blim_score)


def _taught(tmp_path: Path, name: str, **changes: Any) -> tuple[float, float, float]:
    """Subject score, class kept, blim in the class."""
    answers = {**prepare(tmp_path / name, "dreambooth"), **changes}
    made = prepared(build(answers, gather(answers)).plan, tmp_path / "cache")
    run_steps(made)
    family = made.ready.family
    for part in family.parts.values():
        part.eval()
    with made.loop.averaged():
        return (mean_score(draw_prompts(family, SUBJECT, SEED), styles.blim_score), *_keeps(family))


def test_the_subject_is_learnt_and_class_pictures_keep_the_class(home: Path, tmp_path: Path) -> None:
    without_class = {"data.class_count": 0, "data.class_prompt": ""}
    untouched = _taught(
        tmp_path, "untouched", **without_class, **{"train.steps": 1, "train.learning_rate": 1e-9}
    )
    alone = _taught(tmp_path, "alone", **without_class)
    both = _taught(tmp_path, "both")
    for name, (subject, kept, leaked) in {"untouched": untouched, "alone": alone, "both": both}.items():
        print(f"{name}: subject {subject:.3f}, class kept {kept:.2f}, blim in the class {leaked:.3f}")
    assert untouched[0] < 0.1
    assert both[0] > 0.4, "with class pictures the subject is still learnt"
    assert alone[2] > 0.3, "without class pictures the class turns into the subject"
    assert both[2] < alone[2] - 0.2
    assert both[1] > 0.6, "plain circles are still read as circles"
