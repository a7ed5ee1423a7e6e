"""The corner that SDXL's UNet is told is where the sample lies in the picture as it is shown, mirrored or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.dataset.images import placement
from engine.train.latents import pixels
from tests.support.runs import quick_plan
from tests.support.sessions import prepared

CASES = [
    # width, height, crop, corner, mirrored corner; the sample is 64 x 64
    (192, 64, (0.1, 0.0), (13, 0), (115, 0)),
    (192, 64, (0.0, 0.0), (0, 0), (128, 0)),
    (192, 64, (0.5, 0.5), (64, 0), (64, 0)),
    (384, 128, (0.1, 0.0), (13, 0), (115, 0)),
    (64, 192, (0.9, 0.25), (0, 32), (0, 32)),
    (64, 64, (0.3, 0.7), (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("width", "height", "crop", "plain", "mirrored"), CASES)
def test_a_mirrored_crop_counts_from_the_other_side(
    width: int, height: int, crop: tuple[float, float], plain: tuple[int, int], mirrored: tuple[int, int]
) -> None:
    for flip, corner in ((False, plain), (True, mirrored)):
        placed = placement(width, height, (64, 64), crop, flip)
        assert (placed.left, placed.top) == corner


@pytest.mark.parametrize("size", [(192, 64), (64, 160)])
def test_time_ids_name_the_place_in_the_picture_that_is_shown(
    size: tuple[int, int], narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    array = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(array).save(folder / "one.png")
    plan = quick_plan(
        narrow_models["sdxl"], folder, data__random_crop=True, data__flip=True, data__bucket=False,
        data__resolution=64, train__batch_size=1,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    feed: Any = made.feed
    asked: list[Any] = []
    gather = feed.latents.gather

    def noted(indexes: Any, flips: Any, crops: Any) -> Any:
        asked.append((flips[0], crops[0]))
        return gather(indexes, flips, crops)

    feed.latents.gather = noted
    for step in range(1, 13):
        (batch,) = feed.step(step, 1)
        flip, crop = asked[step - 1]
        sample = np.asarray((pixels(made.report.items[0], flip, crop) + 1) * 127.5).round().transpose(1, 2, 0)
        top, left = batch.sizes[0].crop
        shown = array[:, ::-1] if flip else array
        assert np.array_equal(sample.astype(np.uint8), shown[top : top + 64, left : left + 64])
        if step == 1:
            ids = made.adapted.family.with_geometry(batch.cond(), batch.sizes).extra["time_ids"]
            assert ids.tolist() == [[size[1], size[0], top, left, 64, 64]]
    assert {flip for flip, _ in asked} == {False, True}
