"""A run at several areas shows each picture at each of its sizes, and without them keeps every bit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import open_training
from engine.cost.machine import Machine
from engine.planning.check import check
from engine.planning.data import draws_by_size, scan_data
from tests.support.pictures import write_conditions, write_pictures
from tests.support.plans import make_plan
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps, weights

MORE: dict[str, object] = {"data__more_resolutions": [96]}


@pytest.fixture
def sized(tmp_path: Path) -> Path:
    """Three pictures that fill 96 px and two that do not."""
    folder = write_pictures(tmp_path / "sized", 3, side=96)
    rng = np.random.default_rng(3)
    for name in ("s0", "s1"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def test_an_epoch_shows_every_picture_at_each_of_its_sizes(
    small_sd1: Path, sized: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, sized, **MORE, train__batch_size=1, data__repeats=2)
    made = prepared(plan, tmp_path / "cache")
    assert made.feed.order.batches_per_epoch == 16
    assert dict(draws_by_size(plan, scan_data(plan))) == {(64, 64): 10, (96, 96): 6}
    drawn: Counter[tuple[str, tuple[int, int]]] = Counter()
    for step in range(1, 17):
        (batch,) = made.feed.step(step, 1)
        (row,) = made.feed.order.batch(step - 1)
        item = made.feed.items[row]
        assert batch.mean.shape[-2:] == (item.size[1] // 8, item.size[0] // 8)
        drawn[item.rel, item.size] += 1
    large, small = ["00.png", "01.png", "02.png"], ["s0.png", "s1.png"]
    wanted = {(rel, (64, 64)): 2 for rel in (*large, *small)} | {(rel, (96, 96)): 2 for rel in large}
    assert drawn == wanted


def test_without_more_areas_and_limits_all_is_as_it_was(small_sd1: Path, sized: Path, tmp_path: Path) -> None:
    plain = prepared(quick_plan(small_sd1, sized), tmp_path / "cache")
    said = prepared(
        quick_plan(small_sd1, sized, data__more_resolutions=[], data__bucket_min=32, data__bucket_max=128),
        tmp_path / "cache",
    )
    assert [one.loss for one in run_steps(plain)] == [one.loss for one in run_steps(said)]
    ends = zip(weights(plain).values(), weights(said).values(), strict=True)
    assert all(torch.equal(one, other) for one, other in ends)


def test_limits_change_the_sizes_of_long_pictures_alone(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "wide", 6, side=128, wide=3)
    free = prepared(quick_plan(small_sd1, folder), tmp_path / "cache").feed.items
    bound = prepared(quick_plan(small_sd1, folder, data__bucket_min=56), tmp_path / "cache").feed.items
    for before, after in zip(free, bound, strict=True):
        assert (before.size == after.size) == (before.size == (64, 64)) and min(after.size) >= 56
    top = prepared(quick_plan(small_sd1, folder, data__bucket_max=72), tmp_path / "cache").feed.items
    assert {item.size for item in top} == {(64, 64), (72, 40)}


def test_three_steps_and_three_are_six_and_previews_and_files_count_pictures_once(
    small_sd1: Path, sized: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, sized, **MORE, data__flip=True)
    straight = open_training(plan, cache=tmp_path / "cache")
    straight.train()
    for steps in (3, 3):
        with open_training(plan, tmp_path / "run", cache=tmp_path / "cache") as made:
            made.train(steps)
            made.save()
    assert made.losses == straight.losses[3:]
    ends = zip(made.adapted.trainables, straight.adapted.trainables, strict=True)
    assert all(torch.equal(one.parameter, other.parameter) for one, other in ends)
    assert [item.rel for item in made.items] == ["00.png", "01.png", "02.png", "s0.png", "s1.png"]
    assert len(made.feed.items) == 8


def test_condition_pictures_are_shown_at_each_size_too(small_sd1: Path, sized: Path, tmp_path: Path) -> None:
    maps = write_conditions(sized, tmp_path / "maps")
    plan = quick_plan(
        small_sd1,
        sized,
        method="controlnet",
        controlnet__condition_path=str(maps),
        **MORE,
        train__batch_size=1,
    )
    made = prepared(plan, tmp_path / "cache")
    shapes = {
        (batch.mean.shape[-1] * 8, batch.extra["control"].shape[-1])
        for step in range(1, 9)
        for batch in made.feed.step(step, 1)
    }
    assert shapes == {(64, 64), (96, 96)}


def test_a_set_with_a_resolution_of_its_own_has_one_area(
    small_sd1: Path, sized: Path, tmp_path: Path
) -> None:
    other = write_pictures(tmp_path / "other", 2, side=128)
    third = write_pictures(tmp_path / "third", 2, side=128, seed=4)
    sets: list[dict[str, object]] = [
        {"path": str(sized)},
        {"path": str(other), "resolution": 72},
        {"path": str(third), "more_resolutions": [128]},
    ]
    report = scan_data(quick_plan(small_sd1, tmp_path, data__path="", data__sets=sets, **MORE))
    by_set = {
        name: {size for item in report.items if item.folder.name == name for size in item.sizes}
        for name in ("sized", "other", "third")
    }
    assert by_set == {
        "sized": {(64, 64), (96, 96)},
        "other": {(72, 72)},
        "third": {(64, 64), (128, 128)},
    }
    assert report.more_resolutions == (72, 96, 128)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data__more_resolutions": [100]}, "data.more_resolutions"),
        ({"data__more_resolutions": [64]}, "data.more_resolutions"),
        ({"data__more_resolutions": [96, 96]}, "data.more_resolutions"),
        ({"data__bucket_min": 72}, "data.bucket_min"),
        ({"data__bucket_max": 56}, "data.bucket_max"),
        ({"data__more_resolutions": [96], "data__bucket_max": 80}, "data.bucket_max"),
        ({"data__sets": [{"path": "x", "more_resolutions": [64]}]}, "data.sets.0.more_resolutions"),
        (
            {"method": "scratch", "scratch__stages": ["32:50", "64:50"], "data__more_resolutions": [96]},
            "data.more_resolutions",
        ),
    ],
)
def test_areas_that_do_not_fit_are_refused_by_name(
    changes: dict[str, object], key: str, sized: Path, no_gpu: Machine
) -> None:
    found = [problem for problem in check(make_plan(sized, **changes), here=no_gpu) if problem.key == key]
    assert [problem.level for problem in found] == ["error"] and found[0].fix


def test_the_forecast_is_that_of_the_largest_bucket(sized: Path) -> None:
    from engine.cost.peak import _pixels

    one, several = make_plan(sized), make_plan(sized, **MORE)
    assert _pixels(one, scan_data(one)) == 64 * 64 and _pixels(several, scan_data(several)) == 96 * 96
    assert _pixels(several, None) == _pixels(several, scan_data(one)) == 96 * 96, (
        "pictures looked at otherwise"
    )
