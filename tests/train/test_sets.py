"""Several sets: one set is the folder it names, bit for bit; each option changes its own set's pictures alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import open_training
from engine.dataset.treatment import repeats_for
from engine.plan.files import from_dict, load_plan, save_plan
from engine.plan.schema import Plan
from engine.planning.check import check, errors_of
from engine.planning.data import scan_data
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps, weights

Table = dict[str, Any]
NOWHERE = Path()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return write_pictures(tmp_path / "cats", 4), write_pictures(tmp_path / "dogs", 3, seed=5)


def plan_of(model: Path, sets: list[Table], **changes: object) -> Plan:
    return quick_plan(model, NOWHERE, data__sets=sets, data__caption_dropout=0.2, **changes)


def trained(plan: Plan, cache: Path, until: int | None = None) -> tuple[list[float], dict[str, torch.Tensor]]:
    made = prepared(plan, cache)
    return [report.loss for report in run_steps(made, 0, until)], weights(made)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_plan_of_one_set_is_its_folders_bit_for_bit(
    small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    told: Table = {
        "data__flip": True,
        "data__repeats": 2,
        "data__trigger": "zork",
        "data__caption_dropout": 0.3,
    }
    plain = trained(quick_plan(small_sd1, two[0], **told), tmp_path / "cache")
    own = {key.removeprefix("data__"): value for key, value in told.items()}
    assert plain[0] == trained(plan_of(small_sd1, [{"path": str(two[0]), **own}]), tmp_path / "cache")[0]
    inherited = quick_plan(small_sd1, NOWHERE, data__sets=[{"path": str(two[0])}], **told)
    losses, found = trained(inherited, tmp_path / "cache")
    assert losses == plain[0] and same(found, plain[1])


def test_sets_stay_what_they_are_through_file_and_resume(
    small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(
        small_sd1,
        [{"path": "cats", "repeats": 3, "trigger": "zork"}, {"path": "dogs", "weight": 0.5, "flip": True}],
        train__steps=6,
    )
    file = tmp_path / "plan.toml"
    save_plan(file, plan)
    plan = load_plan(file)
    assert [Path(one.path) for one in plan.data.sets] == list(two)
    straight = open_training(plan, cache=tmp_path / "cache")
    straight.train()
    for steps in (3, 3):
        with open_training(plan, tmp_path / "run", cache=tmp_path / "cache") as made:
            made.train(steps)
            made.save()
    assert made.losses == straight.losses[3:]
    ends = zip(made.adapted.trainables, straight.adapted.trainables, strict=True)
    assert all(torch.equal(one.parameter, other.parameter) for one, other in ends)


def shown(plan: Plan, cache: Path, steps: int = 12) -> list[Any]:
    """What each step of the feed shows: its batches."""
    feed = prepared(plan, cache).feed
    return [batch for step in range(1, steps + 1) for batch in feed.step(step, 64)]


@pytest.mark.parametrize("kind", ["repeats", "share"])
def test_repeats_and_shares_say_how_often(
    kind: str, small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    own: list[Table] = [{"repeats": 1}, {"repeats": 4}]
    if kind == "share":
        own = [{"share": 0.25}, {"share": 0.75}]
    sets: list[Table] = [{"path": str(path), **each} for path, each in zip(two, own, strict=True)]
    plan = plan_of(small_sd1, sets)
    feed = prepared(plan, tmp_path / "cache").feed
    drawn: Counter[str] = Counter()
    for number in range(feed.order.batches_per_epoch):
        drawn.update(feed.items[row].folder.name for row in feed.order.batch(number))
    assert drawn["cats"] == 4 and drawn["dogs"] == 12


def test_shares_become_whole_repeats() -> None:
    for shares, pictures in (
        ([0.3, 0.7], [10, 10]),
        ([0.5, 0.5], [1000, 7]),
        ([0.1, 0.2, 0.7], [33, 5, 400]),
    ):
        found = repeats_for(shares, pictures)
        draws = [number * count for number, count in zip(found, pictures, strict=True)]
        for share, own in zip(shares, draws, strict=True):
            assert math.isclose(own / sum(draws), share, rel_tol=0.05), (shares, pictures, found)
    assert repeats_for([0.5, 0.5], [0, 0]) == [1, 1]


def test_a_weight_scales_the_loss_of_its_pictures_alone(
    small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(small_sd1, [{"path": str(two[0])}, {"path": str(two[1]), "weight": 0.25}])
    made = prepared(plan, tmp_path / "cache")
    for step in range(1, 8):
        for batch in made.feed.step(step, 64):
            rows = made.feed.order.batch(step - 1)
            assert batch.weights.tolist() == [0.25 if row >= 4 else 1.0 for row in rows]


def test_flips_crops_and_dropped_captions_are_each_sets_own(
    small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    wide = write_pictures(tmp_path / "wide", 3, side=96, wide=3)
    base: list[Table] = [{"path": str(two[0])}, {"path": str(wide), "bucket": False}]
    plain = shown(plan_of(small_sd1, base, data__cache_latents="off"), tmp_path / "cache")
    for option in ({"flip": True}, {"random_crop": True}, {"caption_dropout": 1.0}):
        changed = plan_of(small_sd1, [base[0], {**base[1], **option}], data__cache_latents="off")
        made = prepared(changed, tmp_path / "cache")
        different: Counter[bool] = Counter()
        for number, before in enumerate(plain):
            (after,) = made.feed.step(number + 1, 64)
            rows = made.feed.order.batch(number)
            text = [
                torch.equal(a, b)
                for a, b in zip(before.cond().rows()["hidden"], after.cond().rows()["hidden"], strict=True)
            ]
            for place, row in enumerate(rows):
                alike = torch.equal(before.mean[place], after.mean[place]) and text[place]
                assert alike or row >= 4, "the other set's pictures stay as they were"
                different[not alike] += row >= 4
        assert different[True], option


def test_words_and_sizes_are_each_sets_own(small_sd1: Path, two: tuple[Path, Path]) -> None:
    (two[1] / "01.txt").unlink()
    sets: list[Table] = [
        {"path": str(two[0]), "trigger": "zork"},
        {"path": str(two[1]), "trigger": "mib", "add_trigger": False, "resolution": 32},
    ]
    report = scan_data(plan_of(small_sd1, sets))
    assert {item.caption.split(",")[0] for item in report.items[:4]} == {"zork"}
    assert [item.caption.split(",")[0] for item in report.items[4:]] == ["a picture", "mib", "a picture"]
    assert [item.size for item in report.items] == [(64, 64)] * 4 + [(32, 32)] * 3


def test_class_sets_are_the_class_folder_bit_for_bit(
    small_sd1: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    for file in two[1].glob("*.txt"):
        file.unlink()
    told: Table = {"method": "dreambooth", "data__trigger": "zork", "data__class_weight": 0.5}
    plain = quick_plan(small_sd1, two[0], data__class_path=str(two[1]), data__class_prompt="a dog", **told)
    sets: list[Table] = [{"path": str(two[0])}, {"path": str(two[1]), "kind": "class", "trigger": "a dog"}]
    losses, found = trained(plain, tmp_path / "cache", 3)
    other = trained(quick_plan(small_sd1, NOWHERE, data__sets=sets, **told), tmp_path / "cache", 3)
    assert losses == other[0] and same(found, other[1])


def test_a_set_in_another_ones_folder_is_counted_once(small_sd1: Path, two: tuple[Path, Path]) -> None:
    inner = write_pictures(two[0] / "close", 2, seed=9)
    report = scan_data(plan_of(small_sd1, [{"path": str(two[0])}, {"path": str(inner)}]))
    assert Counter(item.folder for item in report.items) == {two[0]: 4, inner: 2}


@pytest.mark.parametrize(
    ("sets", "key"),
    [
        ([{"kind": "class"}], "data.sets"),
        ([{"share": 0.5}, {}], "data.sets.1.share"),
        ([{"share": 0.5, "repeats": 2}, {"share": 0.5}], "data.sets.0.repeats"),
        ([{"resolution": 68}], "data.sets.0.resolution"),
        ([{}, {"kind": "class"}], "data.class_prompt"),
        ([{"trigger": "zork"}, {"kind": "class", "trigger": "Zork"}], "data.sets.1.trigger"),
    ],
)
def test_contradictions_are_errors(sets: list[Table], key: str, small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 2)
    for file in folder.glob("*.txt"):
        file.unlink()
    given = [{"path": str(folder), **one} for one in sets]
    plan = quick_plan(small_sd1, NOWHERE, method="dreambooth", data__sets=given)
    assert key in [problem.key for problem in errors_of(check(plan))]


@pytest.mark.parametrize(
    ("sets", "key"),
    [([{"share": 1e-9}, {"share": 0.9}], "data.sets.0.share"), ([{"weight": 0.0}, {}], "data.sets.0.weight")],
)
def test_what_cannot_be_met_or_teaches_nothing_is_a_warning(
    sets: list[Table], key: str, two: tuple[Path, Path]
) -> None:
    plan = quick_plan(
        "builtin:tiny", NOWHERE, data__sets=[{"path": str(two[n]), **own} for n, own in enumerate(sets)]
    )
    assert key in [problem.key for problem in check(plan) if problem.level == "warning"]


def test_what_is_wrong_with_a_sets_folder_is_said_of_the_sets(two: tuple[Path, Path]) -> None:
    plan = quick_plan(
        "builtin:tiny", NOWHERE, data__sets=[{"path": str(two[0])}, {"path": "/nowhere/at/all"}]
    )
    (problem,) = errors_of(check(plan))
    assert problem.key == "data.sets" and "all: the folder does not exist" in problem.what
    assert "data.path" not in problem.fix


def test_a_wrong_key_in_a_set_is_named_with_the_right_one() -> None:
    with pytest.raises(Exception, match=r"data\.sets") as caught:
        from_dict(
            {
                "name": "x",
                "base": {"model": "m"},
                "data": {"sets": [{"path": "a"}, {"path": "b", "repeat": 2}]},
            }
        )
    text = str(caught.value)
    assert "data.sets.1.repeat: no such key" in text and "did you mean data.sets.1.repeats?" in text
