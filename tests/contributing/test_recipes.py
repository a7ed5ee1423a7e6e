"""CONTRIBUTING.md: six recipes, each of files that are there, each followed by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (An? .+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
TOP = {path.name for path in ROOT.iterdir()}


def paths(text: str) -> set[str]:
    """Every path of the repository that is named in code."""
    named = re.findall(r"`([\w./-]+)`", text)
    return {name for name in named if ("/" in name and name.split("/")[0] in TOP) or name in TOP}


def test_there_is_a_recipe_for_each_thing_that_is_added() -> None:
    assert set(RECIPES) == {
        "A method",
        "A family",
        "An optimiser",
        "A monitor pane",
        "A plan field",
        "An export format",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_every_file_of_a_recipe_is_there(name: str) -> None:
    found = paths(RECIPES[name])
    assert len(found) >= 3
    for path in found:
        assert list(ROOT.glob(path.rstrip("/").replace("NAME", "*"))), path


@pytest.mark.parametrize("name", RECIPES)
def test_a_test_follows_the_recipe(name: str) -> None:
    followed = re.search(r"^Followed by `(tests/[\w/]+\.py)`", RECIPES[name], re.MULTILINE)
    assert followed and "def test_" in (ROOT / followed[1]).read_text(encoding="utf-8")


def test_every_other_path_and_target_is_there() -> None:
    assert all((ROOT / path).exists() for path in paths(TEXT.split("## A ")[0]))
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make ([a-z]+)", TEXT)) <= set(targets)
