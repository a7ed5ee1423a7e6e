"""Rules, derived values and forecasts of methods that train whole models, and of class pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.estimate import estimate
from engine.cost.machine import Machine
from engine.dataset.scan import scan
from engine.models.bases import locate
from engine.plan.methods import METHODS
from engine.plan.problems import PlanErrors, Problem
from engine.planning import derive
from engine.planning.build import build, gather
from engine.planning.check import check
from tests.support.pictures import write_pictures
from tests.support.plans import card, make_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", count=4)


CASES: list[tuple[str, dict[str, object], str]] = [
    ("full", {"full__freeze": ["IN1"]}, "full.freeze"),
    ("full", {"full__text_encoder_learning_rate": 1e-5}, "full.text_encoder_learning_rate"),
    ("dreambooth", {"data__class_count": 4}, "data.class_prompt"),
    ("dreambooth", {"data__class_prompt": "a ZVX dog", "data__class_count": 4, "data__trigger": "zvx"},
     "data.class_prompt"),
    ("dreambooth", {"data__class_prompt": "a dog"}, "data.class_prompt"),
    ("dreambooth", {"data__class_path": "/nowhere/at/all", "data__class_prompt": "a dog"}, "data.class_path"),
    ("dreambooth", {"data__class_count": 4, "data__class_prompt": "a dog", "data__class_weight": 0.0},
     "data.class_weight"),
    ("dreambooth", {}, "data.trigger"),
    ("dreambooth", {}, "data.class_count"),
    ("scratch", {"scratch__size": "own"}, "scratch.widths"),
    ("scratch", {"scratch__size": "own", "scratch__widths": [48, 64, 65, 48]}, "scratch.widths"),
    ("scratch", {"scratch__widths": [48, 64, 64, 48]}, "scratch.widths"),
    ("scratch", {"scratch__zero_terminal_snr": True}, "scratch.zero_terminal_snr"),
    ("scratch", {"scratch__stages": ["32:60", "64:60"]}, "scratch.stages"),
    ("scratch", {"scratch__stages": ["64:50", "32:50"]}, "scratch.stages"),
    ("scratch", {"data__class_count": 2, "data__class_prompt": "a dog"}, "data.class_count"),
    ("scratch", {"train__steps": 400}, "data.path"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "changes", "key"), CASES)
def test_a_contradiction_is_named_with_its_key(
    method: str, changes: dict[str, object], key: str, folder: Path, no_gpu: Machine
) -> None:
    plain = {problem.key for problem in check(make_plan(folder, method=method), here=no_gpu)}
    found = check(make_plan(folder, method=method, **changes), here=no_gpu)
    assert key in {problem.key for problem in found}
    told = [problem for problem in found if problem.key == key]
    assert all(problem.what and problem.fix for problem in told)
    assert not changes or len(found) > len(plain & {problem.key for problem in found}) or key not in plain


def test_class_pictures_as_they_should_be_are_no_problem(
    folder: Path, tmp_path: Path, no_gpu: Machine
) -> None:
    others = write_pictures(tmp_path / "class", count=2)
    asked = {"data__class_path": str(others), "data__class_prompt": "a dog", "data__trigger": "zvx"}
    found = check(make_plan(folder, method="dreambooth", **asked), here=no_gpu)
    assert [problem.text() for problem in found if problem.key.startswith("data.class")] == []


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if spec.class_obstacle])
@pytest.mark.parametrize("asked", [{"data__class_count": 2}, {"data__class_path": "/nowhere"}])
def test_class_pictures_where_there_are_none_are_one_error(
    method: str, asked: dict[str, object], folder: Path, no_gpu: Machine
) -> None:
    def told(**changes: object) -> list[Problem]:
        plan = make_plan(folder, method=method, **changes)
        return [found for found in check(plan, here=no_gpu) if found.level == "error"]

    before = told()
    found = [problem for problem in told(data__class_prompt="a dog", **asked) if problem not in before]
    (key,) = asked
    assert [problem.key for problem in found] == [key.replace("__", ".")]
    assert METHODS[method].title in found[0].what and found[0].why == METHODS[method].class_obstacle


def test_class_pictures_inside_the_subjects_folder_are_refused(folder: Path, no_gpu: Machine) -> None:
    inside = write_pictures(folder / "class", count=2)
    plan = make_plan(folder, method="dreambooth", data__class_path=str(inside), data__class_prompt="a dog")
    assert [p.key for p in check(plan, here=no_gpu) if p.level == "error"] == ["data.class_path"]


def test_a_stage_that_cannot_be_read_is_a_problem_of_the_plan(folder: Path) -> None:
    with pytest.raises(PlanErrors, match="no stage"):
        make_plan(folder, method="scratch", scratch__stages=["256 px"])


@pytest.mark.parametrize("method", ["full", "dreambooth", "scratch"])
def test_a_plan_built_from_a_preset_has_no_errors(method: str, folder: Path, no_gpu: Machine) -> None:
    answers = {
        "method": method,
        "base.model": "builtin:tiny",
        "data.path": str(folder),
        "data.trigger": "zvx",
    }
    built = build(answers, gather(answers, no_gpu))
    assert not [problem for problem in check(built.plan, here=no_gpu) if problem.level == "error"]


def test_full_training_is_forecast_with_all_its_weights(folder: Path) -> None:
    machine = card(24)
    base = locate("builtin:tiny")
    report = scan(folder, resolution=64)
    light = estimate(make_plan(folder), base, report, machine)
    plain = estimate(make_plan(folder, method="full"), base, report, machine)
    text = estimate(make_plan(folder, method="full", full__text_encoder=True), base, report, machine)
    average = estimate(make_plan(folder, method="full", train__ema=0.9), base, report, machine)
    assert light.disk_total < plain.disk_total < text.disk_total
    assert plain.vram_total < average.vram_total and plain.disk_total < average.disk_total
    narrow = make_plan(folder, method="scratch", scratch__size="own", scratch__widths=[24, 32, 32, 24])
    smaller = estimate(narrow, base, report, machine)
    assert smaller.vram_total < plain.vram_total
    assert any("epochs" in note and "samples" in note for note in smaller.notes)


def test_captions_that_would_fill_the_disk_are_embedded_for_each_batch(
    folder: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"method": "scratch", "base.model": "builtin:tiny", "data.path": str(folder)}
    facts = gather(answers, no_gpu)
    assert build(answers, facts).plan.caches_text
    monkeypatch.setattr(derive, "MOST_CAPTION_BYTES", 1000)
    built = build(answers, facts)
    assert not built.plan.caches_text
    assert "data.cache_text" in {derived.key for derived in built.derived}
    assert build({**answers, "data.cache_text": "on"}, facts).plan.caches_text


def test_each_stage_of_resolution_keeps_latents_of_its_own(folder: Path, no_gpu: Machine) -> None:
    report = scan(folder, resolution=64)

    def latents(stages: list[str]) -> int:
        plan = make_plan(folder, method="scratch", scratch__stages=stages)
        return dict(estimate(plan, locate("builtin:tiny"), report, no_gpu).disk_parts)["cached latents"]

    assert latents(["32:50", "64:50"]) == latents([]) * 5 // 4
