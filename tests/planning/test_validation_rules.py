"""What is wrong or doubtful about held-out pictures is named by its key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.plan.files import load_plan, save_plan
from engine.plan.schema import Plan
from engine.planning.build import build, gather
from engine.planning.check import check
from engine.planning.data import draws_by_size, scan_data
from tests.support.pictures import write_pictures
from tests.support.plans import make_plan

KEYS = ("validation.every", "validation.share", "validation.path", "validation.stop_after")
ON: dict[str, object] = {"validation__every": 25}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "many", 40)


def found(plan: Plan, machine: Machine) -> list[tuple[str, str]]:
    problems = [problem for problem in check(plan, here=machine) if problem.key in KEYS]
    assert all(problem.what and problem.why and problem.fix for problem in problems)
    return [(problem.key, problem.level) for problem in problems]


WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"validation__share": 0.0}, "validation.share", "error"),
    ({"validation__share": 0.01}, "validation.share", "error"),
    ({"validation__share": 0.05}, "validation.share", "warning"),
    ({"validation__every": 0, "validation__path": "/nowhere"}, "validation.path", "warning"),
    ({"validation__path": "/nowhere"}, "validation.path", "error"),
    ({"validation__every": 101}, "validation.every", "warning"),
    ({"validation__every": 20}, "validation.every", "warning"),
    ({"data__caption_dropout": 1.0}, "validation.every", "warning"),
    ({"validation__stop_after": 4}, "validation.stop_after", "warning"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG)
def test_a_wrong_plan_is_named_by_its_key(
    changes: dict[str, object], key: str, level: str, many: Path, no_gpu: Machine
) -> None:
    assert found(make_plan(many, **{**ON, **changes}), no_gpu) == [(key, level)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"validation__every": 0, "validation__share": 0.0},
        {"validation__every": 20, "checkpoints__every": 40},
        {"validation__every": 20, "validation__keep_best": False},
        {"validation__every": 20, "checkpoints__keep": 0},
        {"validation__every": 20, "checkpoints__every": 0, "validation__stop_after": 3},
    ],
)
def test_a_plan_that_is_right_is_left_alone(changes: dict[str, object], many: Path, no_gpu: Machine) -> None:
    assert found(make_plan(many, **{**ON, **changes}), no_gpu) == []


def test_few_pictures_are_not_taken_from(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, **ON, validation__share=0.4)
    assert found(plan, no_gpu) == [("validation.share", "warning")]
    said = [problem.what for problem in check(plan, here=no_gpu) if problem.key == "data.path"]
    assert said == ["holds only 4 pictures to train on"], "without those that are held out"


def test_a_folder_of_its_own(many: Path, tmp_path: Path, no_gpu: Machine) -> None:
    for place in (many, tmp_path):
        plan = make_plan(many, **ON, validation__path=str(place))
        assert found(plan, no_gpu) == [("validation.path", "error")]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert found(make_plan(many, **ON, validation__path=str(empty)), no_gpu) == [("validation.path", "error")]
    own = write_pictures(tmp_path / "own", 5, seed=3)
    assert found(make_plan(many, **ON, validation__path=str(own)), no_gpu) == []


def test_a_folder_inside_is_not_trained_on(many: Path, no_gpu: Machine) -> None:
    inside = many / "others"
    inside.mkdir()
    for file in sorted(many.glob("0*.*")):
        shutil.move(file, inside / file.name)
    plan = make_plan(many, **ON, validation__path=str(inside))
    assert found(plan, no_gpu) == []
    assert len(scan_data(plan).items) == 30
    facts = gather(
        {"data.path": str(many), "validation.path": str(inside), "base.model": "builtin:tiny"}, no_gpu
    )
    assert facts.report is not None and len(facts.report.items) == 30


def test_the_path_is_read_from_the_plans_folder(many: Path, tmp_path: Path) -> None:
    own = write_pictures(tmp_path / "own", 5, seed=3)
    file = tmp_path / "plan.toml"
    save_plan(file, make_plan(many, **ON, validation__path="own"))
    assert load_plan(file).validation.path == str(own)
    built = build(
        {"data.path": str(many), "base.model": "builtin:tiny", "validation.path": str(own)}, gather({})
    )
    assert built.plan.validation.path == str(own)


def test_draws_of_an_epoch_are_those_of_what_is_trained(many: Path) -> None:
    plain = make_plan(many, data__repeats=3)
    report = scan_data(plain)
    assert draws_by_size(plain, report) == {(64, 64): 120}
    held = make_plan(many, data__repeats=3, **ON, validation__share=0.25)
    assert draws_by_size(held, report) == {(64, 64): 90}
    most = make_plan(many, **ON, validation__share=0.25, validation__pictures=4)
    assert draws_by_size(most, report) == {(64, 64): 36}


def test_epochs_are_those_of_what_is_trained(many: Path, no_gpu: Machine) -> None:
    given: dict[str, object] = {"data.path": str(many), "base.model": "builtin:tiny", "train.batch_size": 1}
    told = {**given, "train.epochs": 2.0, "validation.every_epochs": 0.5, "validation.share": 0.25}
    plan = build(told, gather(told)).plan
    assert (plan.train.steps, plan.validation.every) == (60, 15), "30 of 40 pictures"
    assert [key for key, level in found(plan, no_gpu) if level == "error"] == []
    off = plan.model_copy(update={"validation": plan.validation.model_copy(update={"every": 0})})
    assert ("validation.every", "error") in found(off, no_gpu)


def test_fields_that_do_nothing_are_not_asked_for(many: Path) -> None:
    def idle(**changes: object) -> set[str]:
        return {key for key in make_plan(many, **changes).idle if key.startswith("validation.")}

    assert "validation.share" in idle() and "validation.every" not in idle()
    assert idle(validation__every=5) == set()
    assert idle(validation__every=5, validation__path=str(many)) == {"validation.share"}
