"""ControlNet and T2I-Adapter teach the built-in model to draw where an outline says, on scenes never shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.demo import styles, world
from engine.demo.score import GUIDANCE, STEPS
from engine.demo.world import Picture
from engine.train.previews import to_image
from engine.train.sampling import PreviewRequest, draw_batch
from tests.learning.conftest import Record
from tests.learning.lessons import SEED, Resting, lesson
from tests.support.sessions import CPU, Prepared, run_steps

COUNT = 24
# Training scenes come from other seeds, and lie at other places by their pictures' own seeds.
SCENES = [world.scene_at(90_000, index) for index in range(COUNT)]
GUIDES = [styles.outline_map(scene, 7_000 + index) for index, scene in enumerate(SCENES)]
# Each guide's neighbour: what a picture agrees with that does not follow its own.
SHUFFLED = [*GUIDES[1:], GUIDES[0]]


def _drawn(made: Prepared) -> list[Picture]:
    """One picture a scene, told colour and shape in words, and place and size by its outline."""
    family, method = made.adapted.family, made.adapted.method
    control = torch.from_numpy(np.stack(GUIDES)).permute(0, 3, 1, 2).float() / 255
    batch = {"control": torch.cat([control, control])}
    with Resting(made), torch.no_grad():
        empty = family.encode_text(family.tokenize([""]))
        conds = [family.encode_text(family.tokenize([f"a {scene.colour} {scene.shape}"])) for scene in SCENES]
        requests = [
            PreviewRequest(cond, empty, SEED + at, STEPS, GUIDANCE, 64, 64) for at, cond in enumerate(conds)
        ]
        pixels = draw_batch(
            family,
            requests,
            CPU,
            lambda noisy, time, cond: method.residuals(family, noisy, time, cond, batch),
        )
    return [np.asarray(to_image(one)) for one in pixels]


def _agreement(pictures: list[Picture], guides: list[Picture]) -> float:
    pairs = zip(pictures, guides, strict=True)
    return float(np.mean([styles.outline_match(picture, guide) for picture, guide in pairs]))


@pytest.mark.parametrize("method", ["controlnet", "t2i_adapter"])
def test_pictures_follow_their_own_outline(method: str, home: Path, tmp_path: Path, record: Record) -> None:
    made = lesson(method, tmp_path)
    before = _agreement(_drawn(made), GUIDES)
    run_steps(made)
    pictures = _drawn(made)
    after, shuffled = _agreement(pictures, GUIDES), _agreement(pictures, SHUFFLED)
    record(method, [GUIDES, pictures], before=before, after=after, shuffled=shuffled)
    assert before < 0.45, "an untrained net says nothing of place and size"
    assert after > before + 0.15
    assert after > shuffled + 0.2
