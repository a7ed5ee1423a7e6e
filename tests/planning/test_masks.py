"""What does not go with masks is named by its key; what a plan asks for is what its scan looks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from engine.cost.machine import Machine
from engine.plan.files import from_dict, load_plan, save_plan
from engine.plan.schema import Plan
from engine.planning.build import build, gather
from engine.planning.check import check
from engine.planning.data import scan_data
from tests.support.pictures import write_pictures
from tests.support.plans import make_plan

FILES = {"data__masks": "files"}


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    folder = write_pictures(tmp_path / "set", 8)
    for index in range(8):
        (folder / "masks").mkdir(exist_ok=True)
        Image.new("L", (64, 64), 255).save(folder / "masks" / f"{index:02d}.png")
    return folder


def told(plan: Plan, here: Machine) -> list[tuple[str, str]]:
    return [(problem.key, problem.level) for problem in check(plan, here=here)]


def test_a_plan_with_masks_has_no_problem(masked: Path, no_gpu: Machine) -> None:
    assert told(make_plan(masked, **FILES), no_gpu) == []
    assert all(item.mask for item in scan_data(make_plan(masked, **FILES)).items)


@pytest.mark.parametrize(
    ("changes", "key", "level"),
    [
        ({"data__masks": "alpha"}, "data.masks", "error"),
        ({"data__mask_path": "{}/masks"}, "data.mask_path", "warning"),
        ({**FILES, "data__mask_path": "{}"}, "data.mask_path", "error"),
        ({**FILES, "data__unmasked_weight": 1.0}, "data.unmasked_weight", "warning"),
    ],
)
def test_what_masks_do_not_go_with(
    changes: dict[str, object], key: str, level: str, masked: Path, no_gpu: Machine
) -> None:
    given = {
        name: value.replace("{}", str(masked)) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    assert (key, level) in told(make_plan(masked, **given), no_gpu)


def test_files_without_any_mask_are_refused(tmp_path: Path, no_gpu: Machine) -> None:
    plain = write_pictures(tmp_path / "plain", 8)
    assert ("data.masks", "error") in told(make_plan(plain, **FILES), no_gpu)


def test_class_pictures_take_no_masks_of_their_own_and_none_of_the_plans(
    masked: Path, tmp_path: Path, no_gpu: Machine
) -> None:
    classes = write_pictures(tmp_path / "class", 3)
    sets: list[dict[str, object]] = [{"path": str(masked)}, {"path": str(classes), "kind": "class"}]
    plan = make_plan(masked, method="dreambooth", data__path="", data__sets=sets, **FILES)
    assert not [key for key, level in told(plan, no_gpu) if level == "error"]
    sets[1]["masks"] = "files"
    plan = make_plan(masked, method="dreambooth", data__path="", data__sets=sets, **FILES)
    assert ("data.sets.1.masks", "error") in told(plan, no_gpu)


def test_a_folder_of_masks_becomes_absolute_and_is_no_part_of_the_pictures(
    masked: Path, tmp_path: Path, no_gpu: Machine
) -> None:
    (masked / "masks").rename(masked / "shapes")
    table = {"name": "run", "base": {"model": "builtin:tiny"}}
    own = {"path": "set", "resolution": 64, "masks": "files", "mask_path": "set/shapes"}
    save_plan(tmp_path / "plan.toml", from_dict({**table, "data": own}))
    plan = load_plan(tmp_path / "plan.toml")
    assert plan.data.mask_path == str(masked / "shapes")
    report = scan_data(plan)
    assert report.counts.images == 8 and report.counts.masked == 8
    answers = {"base.model": "builtin:tiny", "data.path": str(masked), "data.masks": "files"}
    facts = gather({**answers, "data.mask_path": str(masked / "shapes")}, no_gpu)
    assert facts.report is not None and facts.report.counts.masked == facts.report.counts.images == 8
    assert build(answers, facts).plan.data.masks == "files"


def test_fields_of_masks_matter_only_with_masks(masked: Path) -> None:
    of_masks = {"data.mask_path", "data.unmasked_weight"}
    assert of_masks <= make_plan(masked).idle
    assert of_masks & make_plan(masked, data__masks="alpha").idle == {"data.mask_path"}
    assert not of_masks & make_plan(masked, **FILES).idle
