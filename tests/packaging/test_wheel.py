"""The built wheel, installed where no source tree is, has everything: commands, themes, model, presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.installs import ROOT, Installed, from_wheel
from tests.support.pictures import write_pictures


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return from_wheel(tmp_path_factory.mktemp("wheel"))


def test_what_runs_is_the_wheel(installed: Installed) -> None:
    where = installed.run(
        "python", "-P", "-c", "import engine, sdtrain_tui; print(engine.__file__, sdtrain_tui.__file__)"
    )
    assert where.count(str(installed.folder)) == 2
    assert json.loads(installed.run("sdtrain", "list", "--json")) is not None
    assert str(ROOT) not in installed.run("sdtrain", "doctor", "--json")


def test_the_builtin_model_and_the_presets_are_inside(installed: Installed, tmp_path: Path) -> None:
    pictures, plan = write_pictures(tmp_path / "pictures"), tmp_path / "plan.toml"
    installed.run(
        "sdtrain", "new", "--base", "builtin:tiny", "--data", str(pictures), "--name", "w", "-o", str(plan)
    )
    assert not [
        p
        for p in json.loads(installed.run("sdtrain", "check", str(plan), "--json"))["problems"]
        if p["level"] == "error"
    ]
    assert json.loads(installed.run("sdtrain", "estimate", str(plan), "--json"))


def test_the_themes_and_styles_are_inside(installed: Installed) -> None:
    script = (
        "from sdtrain_tui.themes import load_themes; from sdtrain_tui.app import SdtrainApp;"
        "found = load_themes(); print(sorted(found.themes), found.warnings, SdtrainApp.CSS_PATH)"
    )
    said = installed.run("python", "-P", "-c", script)
    assert "sdtrain-dark" in said and "[]" in said
    assert list((installed.folder / "lib").rglob("sdtrain_tui/*.tcss"))


def test_both_packages_tell_type_checkers_that_they_are_typed(installed: Installed) -> None:
    assert [(installed.site / name / "py.typed").is_file() for name in ("engine", "sdtrain_tui")] == [
        True,
        True,
    ]
