"""Completion of paths in the wizard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdtrain_tui.wizard.paths import complete, expanded, unquoted


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cats", "castle", "dogs", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_what_is_certain_is_added_and_the_rest_is_listed(tree: Path) -> None:
    assert complete(f"{tree}/c") == (f"{tree}/ca", ["castle/", "cats/"])
    assert complete(f"{tree}/cat") == (f"{tree}/cats/", ["cats/"])


def test_nothing_to_add_leaves_the_text(tree: Path) -> None:
    assert complete(f"{tree}/cats/") == (f"{tree}/cats/", [])
    assert complete(f"{tree}/x") == (f"{tree}/x", [])
    assert complete(f"{tree}/no/such/folder") == (f"{tree}/no/such/folder", [])
    assert complete("") == ("", [])


def test_files_count_only_with_the_wanted_endings(tree: Path) -> None:
    assert complete(f"{tree}/m", (".safetensors",))[0] == f"{tree}/model.safetensors"
    assert complete(f"{tree}/m")[0] == f"{tree}/m"
    assert complete(f"{tree}/n", (".safetensors",))[1] == []


def test_hidden_names_need_their_dot(tree: Path) -> None:
    assert ".hidden/" not in complete(f"{tree}/")[1]
    assert complete(f"{tree}/.h")[0] == f"{tree}/.hidden/"


def test_relative_paths_and_the_home_are_completed_as_typed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    monkeypatch.setenv("HOME", str(tree))
    assert complete("do") == ("dogs/", ["dogs/"])
    assert complete("~") == ("~/", [])
    assert complete("~/do")[0] == "~/dogs/"


def test_a_folder_that_may_not_be_read_completes_to_nothing(tree: Path) -> None:
    closed = tree / "dogs"
    (closed / "inner").mkdir()
    closed.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("this user may read everything")
        assert complete(f"{closed}/i") == (f"{closed}/i", [])
    finally:
        closed.chmod(0o755)


def test_an_unknown_user_stays_as_typed() -> None:
    assert str(expanded("~nobody-here/x")) == "~nobody-here/x"


def test_what_a_shell_or_a_file_manager_wrote_is_undone(tree: Path) -> None:
    for text in (
        f"'{tree}/my cats'",
        f'"{tree}/my cats"',
        f"{tree}/my\\ cats",
        f"  {tree}/my cats ",
        f"file://{tree}/my%20cats",
    ):
        assert unquoted(text) == f"{tree}/my cats", text
    assert unquoted("") == "" and unquoted("'") == "'" and unquoted("org/model") == "org/model"


def test_a_name_that_is_there_as_it_was_typed_stays(tree: Path) -> None:
    for name in ("'quoted'", "back\\ slash"):
        (tree / name).mkdir()
        assert unquoted(f"{tree}/{name}") == f"{tree}/{name}"
