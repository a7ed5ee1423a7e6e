"""Conditions through a whole run: maps are made once and kept, previews see them, and the files come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.dataset import annotators
from engine.dataset.cache import TensorCache
from engine.dataset.images import fit
from engine.dataset.makers import canny
from engine.dataset.scan import scan
from engine.errors import UserError
from engine.train.conditions import Conditions, conditions_for
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import events_of, new_run, quick_plan, work_to_end


def made(pictures: Path, cache: Path, **changes: object) -> Conditions:
    plan = quick_plan("base", pictures, method="controlnet", **changes)
    found = conditions_for(plan, scan(pictures, resolution=64), TensorCache(cache), lambda done, total: None)
    assert found is not None
    return found


def test_a_canny_run_previews_with_its_conditions_and_exports(
    small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=3)
    before = {path: path.stat().st_mtime_ns for path in pictures.rglob("*")}
    plan = quick_plan(
        small_sd1,
        pictures,
        method="controlnet",
        controlnet__condition="canny",
        controlnet__channels="1",
        train__steps=2,
        samples__every=2,
        samples__steps=2,
        samples__count=2,
    )
    run = new_run(plan)
    work_to_end(run)
    samples = [event for event in events_of(run) if event["kind"] == "sample"]
    assert len(samples) == 4 and not any("error" in event for event in samples)
    with Image.open(run.previews / "00-control.png") as control:
        assert control.size == (64, 64) and control.mode == "L"
    start = (run.previews / "step-00000000-00.png").read_bytes()
    assert start != (run.previews / "step-00000002-00.png").read_bytes()
    written = [event["format"] for event in events_of(run) if event["kind"] == "exported"]
    assert written == ["controlnet", "controlnet_folder"]
    assert {path: path.stat().st_mtime_ns for path in pictures.rglob("*")} == before


def test_maps_are_made_once_at_the_size_that_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    wide = np.zeros((128, 256, 3), dtype=np.uint8)
    wide[32:96, 96:160] = 255
    Image.fromarray(wide).save(pictures / "a.png")
    first = made(pictures, tmp_path / "cache", controlnet__condition="canny")
    (item,) = first.items
    row = first.rows(first.items[:1], [False], [(0.5, 0.5)])["control"][0]
    monkeypatch.setattr(canny, "canny", lambda picture: pytest.fail("made again"))
    annotators.maker.cache_clear()
    again = made(pictures, tmp_path / "cache", controlnet__condition="canny")
    assert torch.equal(again.rows(again.items[:1], [False], [(0.5, 0.5)])["control"][0], row)
    annotators.maker.cache_clear()
    monkeypatch.undo()
    expected = canny.canny(fit(wide, *item.size))
    ours = row.permute(1, 2, 0).numpy() > 0.5
    assert (ours == (expected > 127)).mean() > 0.97


def test_flips_and_crops_move_picture_and_condition_together(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 255, (96, 160, 3), dtype=np.uint8)).save(pictures / "a.png")
    conditions = write_conditions(pictures, tmp_path / "conditions")
    Image.open(pictures / "a.png").save(conditions / "a.webp", lossless=True)
    from engine.train.latents import pixels

    found = made(pictures, tmp_path / "cache", controlnet__condition_path=str(conditions))
    (item,) = found.items
    for crop, flip in (((0.0, 0.0), False), ((0.9, 0.4), True)):
        row = found.rows(found.items[:1], [flip], [crop])["control"][0]
        wanted = (pixels(item, flip, crop) + 1) / 2
        assert row.shape == wanted.shape
        assert float((row - wanted).abs().mean()) < 0.01


def test_a_set_without_conditions_stops_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no picture has a condition"):
        made(write_pictures(tmp_path / "pictures"), tmp_path / "cache")


def test_a_preview_gets_the_condition_of_the_picture_with_its_caption(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=4)
    conditions = write_conditions(pictures, tmp_path / "conditions")
    found = made(pictures, tmp_path / "cache", controlnet__condition_path=str(conditions))
    captions = [item.caption for item in found.items]
    extras = found.for_previews([captions[2], "something else"], (64, 64), tmp_path / "samples")
    assert torch.equal(extras[0]["control"][0], found.picture(found.items[2], (64, 64)))
    assert torch.equal(extras[1]["control"][0], found.picture(found.items[1], (64, 64)))
    saved = np.asarray(Image.open(tmp_path / "samples" / "01-control.png"))
    assert np.array_equal(saved, (extras[1]["control"][0].permute(1, 2, 0) * 255).round().byte().numpy())
