"""Folders named N_words: what they say goes into the plan; several of them are sets, and reg/ holds class pictures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.plan.files import load_plan
from engine.planning.data import scan_data
from engine.train.class_pictures import class_items
from tests.cases.looking import codes, found, look, pictures
from tests.cli.conftest import Cli


def new(cli: Cli, folder: Path, *words: str) -> dict[str, Any]:
    given = ("--base", "builtin:tiny", "--data", str(folder), "-o", "plan.toml", "--force", *words)
    assert cli("new", *given).code == 0
    data: dict[str, Any] = tomllib.loads((cli.folder / "plan.toml").read_text())["data"]
    return data


@pytest.mark.parametrize("inside", ["", "10_sks dog", "img/10_sks dog"])
def test_a_single_set_gives_trigger_and_repeats(cli: Cli, tmp_path: Path, inside: str) -> None:
    folder = tmp_path / ("set" if inside else "10_sks dog")
    pictures(folder / inside)
    data = new(cli, folder)
    assert (data["trigger"], data["repeats"]) == ("sks dog", 10)
    given = new(cli, folder, "--trigger", "zork", "--set", "data.repeats=3")
    assert (given["trigger"], given["repeats"]) == ("zork", 3)
    assert new(cli, folder, "--trigger", "").get("trigger", "") == ""


def test_the_previews_show_the_words_of_the_folder(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "10_sks dog")
    new(cli, tmp_path / "10_sks dog")
    assert tomllib.loads((cli.folder / "plan.toml").read_text())["samples"]["prompts"] == ["sks dog"]


@pytest.mark.parametrize("name", ["10_sks dog", "set"])
def test_the_check_warns_of_such_a_folder_without_a_trigger(cli: Cli, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    pictures(folder if name != "set" else folder / "10_sks dog")
    new(cli, folder, "--trigger", "")
    told = [
        row for row in cli("check", "plan.toml", "--json").json["problems"] if row["key"] == "data.trigger"
    ]
    assert len(told) == 1 and "data.trigger = 'sks dog' and data.repeats = 10" in told[0]["fix"]
    new(cli, folder)
    assert not [
        row for row in cli("check", "plan.toml", "--json").json["problems"] if row["key"] == "data.trigger"
    ]


@pytest.mark.parametrize("name", ["2019_holiday", "01_front", "dog_10", "10", "10_", "0_x"])
def test_other_names_with_numbers_say_nothing(cli: Cli, tmp_path: Path, name: str) -> None:
    pictures(tmp_path / name)
    pictures(tmp_path / "set" / name)
    assert new(cli, tmp_path / name).get("trigger", "") == ""
    assert not {"repeat-folder", "several-sets"} & codes(look(tmp_path / "set"))


@pytest.mark.parametrize("place", ["", "img"])
def test_several_sets_are_read_as_they_stand(cli: Cli, tmp_path: Path, place: str) -> None:
    for name in ("10_sks dog", "1_sks cat"):
        pictures(tmp_path / "set" / place / name)
    (tmp_path / "set" / place / "1_sks cat" / "p0.txt").write_text("what it shows")
    data = new(cli, tmp_path / "set")
    assert [(Path(one["path"]).name, one["repeats"], one["trigger"]) for one in data["sets"]] == [
        ("10_sks dog", 10, "sks dog"),
        ("1_sks cat", 1, "sks cat"),
    ]
    assert cli("check", "plan.toml").code == 0
    report = scan_data(load_plan(cli.folder / "plan.toml"))
    assert [item.caption for item in report.items] == ["sks dog", "sks dog", "what it shows", "sks cat"]
    assert [item.treatment.repeats for item in report.items if item.treatment] == [10, 10, 1, 1]
    done = cli("data", str(tmp_path / "set"), "--resolution", "64")
    assert done.code == 0 and "kohya" in done.out
    assert "10_sks dog: 2 pictures, repeats 10, 91% of the draws, words sks dog" in " ".join(done.out.split())


def test_a_plan_that_names_such_a_folder_has_its_sets(tmp_path: Path) -> None:
    for name in ("10_sks dog", "1_sks cat"):
        pictures(tmp_path / "set" / name)
    (tmp_path / "plan.toml").write_text('name = "x"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "set"\n')
    plan = load_plan(tmp_path / "plan.toml")
    assert [one.trigger for one in plan.data.sets] == ["sks dog", "sks cat"]
    assert plan.data.triggers == ("sks dog", "sks cat")


def test_sets_beside_other_pictures_are_refused(tmp_path: Path) -> None:
    for name in ("10_sks dog", "1_sks cat", ""):
        pictures(tmp_path / name)
    error = found(look(tmp_path, "zork"), "several-sets")
    assert error.level == "error" and "10_sks dog" in error.what and "1_sks cat" in error.what
    assert f"{tmp_path / '10_sks dog'}" in error.fix or f"{tmp_path / '1_sks cat'}" in error.fix


def test_sets_that_differ_in_nothing_that_a_plan_lacks_are_read(tmp_path: Path) -> None:
    for name in ("5_sks dog", "5_sks cat"):
        pictures(tmp_path / name)
        for number in range(2):
            (tmp_path / name / f"p{number}.txt").write_text("what it shows")
    report = look(tmp_path)
    assert not report.errors and len(report.items) == 4
    assert found(report, "repeat-folders").fix == "set data.repeats = 5"
    (tmp_path / "5_sks cat" / "p0.txt").unlink()
    assert "several-sets" in codes(look(tmp_path))


def test_a_set_among_other_pictures_is_named(tmp_path: Path) -> None:
    pictures(tmp_path)
    pictures(tmp_path / "10_sks dog")
    report = look(tmp_path)
    assert found(report, "repeat-folder").level == "warning" and len(report.items) == 4


@pytest.mark.parametrize("images", ["img/10_sks dog", "images/10_sks dog", "10_sks dog", "img"])
@pytest.mark.parametrize("classes", ["reg/1_dog", "reg"])
def test_a_project_with_class_pictures_is_told_apart(
    cli: Cli, tmp_path: Path, images: str, classes: str
) -> None:
    root = tmp_path / "set"
    pictures(root / images)
    pictures(root / classes)
    words = () if classes != "reg" else ("--set", "data.class_prompt=a dog")
    data = new(cli, root, "--method", "dreambooth", *words)
    assert [(one["path"], one["kind"]) for one in data["sets"]] == [
        (str(root / images), "pictures"),
        (str(root / classes), "class"),
    ]
    done = cli("check", "plan.toml", "--json")
    assert not [row for row in done.json["problems"] if row["level"] == "error"]
    plan = load_plan(cli.folder / "plan.toml")
    assert {item.folder for item in scan_data(plan).items} == {root / images}
    shown = class_items(plan, torch.device("cpu"), tmp_path / "cache", lambda text, done, total: None)
    assert [item.caption for item in shown] == ["a dog" if words else "dog"] * 2


def test_class_pictures_with_the_subjects_word_are_refused(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "img" / "10_sks dog")
    pictures(tmp_path / "set" / "reg" / "1_sks dog")
    done = cli(
        "new", "--base", "builtin:tiny", "--data", str(tmp_path / "set"), "--method", "dreambooth", "--json"
    )
    told = done.json["problems"]
    assert [row["key"] for row in told if row["level"] == "error"] == ["data.sets.1.trigger"]


def test_logs_and_models_of_a_project_do_not_hide_its_set(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "img" / "20_zoë woman")
    for name in ("log", "model"):
        (tmp_path / name).mkdir()
    data = new(cli, tmp_path)
    assert (data["trigger"], data["repeats"]) == ("zoë woman", 20)
