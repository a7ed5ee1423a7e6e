"""Lengths and intervals in epochs: steps follow from pictures, batches and repeats, as the engine counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.plan.schema import Plan
from engine.planning.build import build, gather
from engine.planning.check import check
from engine.planning.data import scan_data
from engine.planning.epochs import updates
from tests.support.pictures import write_pictures
from tests.support.plans import make_plan
from tests.support.runs import events_of, new_run, quick_plan, work_to_end


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Seven pictures, of which two are wide: two buckets."""
    return write_pictures(tmp_path / "mixed", count=7, wide=2)


def planned(data: Path, **answers: object) -> tuple[Plan, dict[str, str]]:
    given = {"base.model": "builtin:tiny", "data.path": str(data), "train.batch_size": 2}
    given |= {key.replace("__", "."): value for key, value in answers.items()}
    built = build(given, gather(given))
    return built.plan, {item.key: item.why for item in built.derived}


def test_steps_follow_from_pictures_batches_and_repeats(mixed: Path) -> None:
    # Five square pictures fill three batches of two, two wide ones fill one.
    plan, why = planned(mixed, train__epochs=10)
    assert plan.train.steps == 40 and "10 epochs of 4 steps" in why["train.steps"]
    assert planned(mixed, train__epochs=10, data__repeats=3)[0].train.steps == 110
    assert planned(mixed, train__epochs=0.5)[0].train.steps == 2
    assert planned(mixed, train__epochs=3, train__gradient_accumulation=2)[0].train.steps == 6


def test_intervals_follow_too(mixed: Path) -> None:
    plan, _ = planned(mixed, train__epochs=10, samples__every_epochs=2, checkpoints__every_epochs=5)
    assert (plan.samples.every, plan.checkpoints.every) == (8, 20)


def test_the_run_sees_as_many_epochs_as_were_asked_for(mixed: Path, small_sd1: Path, home: Path) -> None:
    plan = quick_plan(small_sd1, mixed, train__batch_size=2, train__epochs=3.0, data__repeats=2)
    steps = updates(plan, scan_data(plan), 3)
    run = new_run(plan.model_copy(update={"train": plan.train.model_copy(update={"steps": steps})}))
    work_to_end(run)
    last = [event for event in events_of(run) if event["kind"] == "step"][-1]
    assert last["step"] == steps and last["epoch"] == 3


def test_steps_that_are_not_what_the_epochs_come_to_are_an_error_with_the_number(mixed: Path) -> None:
    plan = make_plan(mixed, train__epochs=10.0, train__steps=41, samples__every=0)
    (problem,) = [each for each in check(plan) if each.key == "train.steps" and each.level == "error"]
    assert "10 epochs are 40 steps" in problem.why and "set 40" in problem.fix
    fitting = make_plan(mixed, train__epochs=10.0, train__steps=40, samples__every=0)
    assert not [each for each in check(fitting) if each.key == "train.steps" and each.level == "error"]
