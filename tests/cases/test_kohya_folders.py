"""Folders named N_words: what they say goes into the plan; several of them are refused with what to point at."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

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
@pytest.mark.parametrize("recursive", [True, False])
def test_several_sets_are_refused(cli: Cli, tmp_path: Path, place: str, recursive: bool) -> None:
    for name in ("10_sks dog", "1_sks cat"):
        pictures(tmp_path / place / name)
    folder = tmp_path if recursive else tmp_path / place
    error = found(look(folder, "zork", recursive), "several-sets")
    assert error.level == "error" and "10_sks dog" in error.what and "1_sks cat" in error.what
    assert (
        f"{tmp_path / place / '10_sks dog'}" in error.fix or f"{tmp_path / place / '1_sks cat'}" in error.fix
    )
    done = cli("data", str(folder), "--resolution", "64", "--trigger", "zork")
    assert done.code == 2 and "repeats" in done.out


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
def test_a_project_with_class_pictures_is_refused_with_both_places(
    tmp_path: Path, images: str, classes: str
) -> None:
    pictures(tmp_path / images)
    pictures(tmp_path / classes)
    report = look(tmp_path, "zork")
    error = found(report, "several-sets")
    assert f"data.path to {tmp_path / images}," in error.fix
    assert f"data.class_path to {tmp_path / 'reg'}" in error.fix
    assert not [item.rel for item in report.items if item.rel.startswith("reg")]
    assert not look(tmp_path / images, "zork").errors and not look(tmp_path / "reg").errors


def test_logs_and_models_of_a_project_do_not_hide_its_set(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path / "img" / "20_zoë woman")
    for name in ("log", "model"):
        (tmp_path / name).mkdir()
    data = new(cli, tmp_path)
    assert (data["trigger"], data["repeats"]) == ("zoë woman", 20)
