"""Run directories are made without overwriting anything and found by name, folder or part."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.run.create import create_run
from engine.run.paths import RunDir, cache_root, find_run, handle, list_runs, remember, runs_root, safe_name

PLAN = 'version = 1\nname = "cat"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDTRAIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_roots_follow_the_variables_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    assert (runs_root(), cache_root()) == (home / "runs", home / "cache")
    monkeypatch.delenv("SDTRAIN_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs_root() == tmp_path / "data/sdtrain/runs"
    assert cache_root() == tmp_path / ".cache/sdtrain"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert runs_root() == tmp_path / ".local/share/sdtrain/runs"


def test_a_new_run_holds_the_plan_and_a_way_to_the_shared_cache(home: Path) -> None:
    run = create_run(PLAN, "cat")
    assert run.path == home / "runs/cat"
    assert run.plan_file.read_text() == PLAN
    assert run.checkpoints.is_dir()
    assert run.cache.resolve() == (home / "cache").resolve()


def test_a_taken_name_gets_a_number(home: Path) -> None:
    assert [create_run(PLAN, "cat").name for _ in range(3)] == ["cat", "cat-2", "cat-3"]
    (home / "runs/dog").mkdir()
    assert create_run(PLAN, "dog").name == "dog-2", "a folder without a run is not touched either"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My cat!", "My-cat"),
        ("../../etc", "etc"),
        ("...", "run"),
        ("", "run"),
        ("Katze ü", "Katze-ü"),
        ("a/b", "a-b"),
    ],
)
def test_a_name_becomes_one_plain_folder_name(name: str, expected: str) -> None:
    assert safe_name(name) == expected
    assert create_run(PLAN, name).path.parent == runs_root()


def test_a_very_long_name_still_makes_a_run() -> None:
    assert create_run(PLAN, "ü" * 300).plan_file.is_file()
    assert create_run(PLAN, "ü" * 300).name.endswith("-2")


def test_a_given_directory_must_be_new_or_empty(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    assert create_run(PLAN, "cat", place).path == place
    with pytest.raises(UserError, match="already holds a run"):
        create_run("other", "cat", place)
    assert (place / "plan.toml").read_text() == PLAN
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        create_run(PLAN, "cat", photos)
    assert [path.name for path in photos.iterdir()] == ["a.jpg"]
    with pytest.raises(UserError, match="a file, not a folder"):
        create_run(PLAN, "cat", photos / "a.jpg")


def test_what_a_broken_off_start_left_is_named_with_the_command_that_removes_it(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    run = create_run(PLAN, "cat", place)
    run.plan_file.unlink()
    with pytest.raises(UserError, match="broken off") as caught:
        create_run(PLAN, "cat", place)
    assert caught.value.fix.endswith(f"rm -r '{place}'")
    (run.previews / "mine.png").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        create_run(PLAN, "cat", place)
    assert (run.previews / "mine.png").is_file()


def test_a_place_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        create_run(PLAN, "cat", tmp_path / "file" / "below")
    assert "file" in caught.value.what
    assert caught.value.why
    assert "--dir" in caught.value.fix


def test_runs_are_listed_with_the_newest_activity_first(home: Path) -> None:
    assert list_runs() == []
    runs = [create_run(PLAN, name) for name in ("a", "b", "c")]
    for run, when in zip(runs, (30, 10, 20), strict=True):
        os.utime(run.plan_file, (when, when))
    runs[1].events_file.write_text("")
    os.utime(runs[1].events_file, (99, 99))
    (home / "runs/no-run").mkdir()
    assert [run.name for run in list_runs()] == ["b", "a", "c"]


def test_a_run_is_found_by_name_directory_or_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cat, dog = create_run(PLAN, "my-cat"), create_run(PLAN, "my-dog")
    away = create_run(PLAN, "x", tmp_path / "away")
    assert find_run("my-cat") == cat
    assert find_run("dog") == dog
    assert find_run("CAT") == cat
    assert find_run(str(dog.path)) == dog
    assert find_run("runs/my-d") == dog
    assert find_run(str(away.path)) == away
    monkeypatch.chdir(tmp_path)
    assert find_run("away") == RunDir(tmp_path / "away")
    assert find_run("./away/") == RunDir(tmp_path / "away")


def test_a_whole_name_wins_over_a_part_and_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = create_run(PLAN, "cat")
    create_run(PLAN, "cat")
    create_run(PLAN, "x", tmp_path / "here" / "cat")
    monkeypatch.chdir(tmp_path / "here")
    assert find_run("cat") == cat
    assert find_run("./cat").path == tmp_path / "here/cat"


@pytest.mark.parametrize("text", ["cat", "", "home", "~nobody-here", "x" * 5000, "a\0b", "/", ".", "runs/"])
def test_a_text_that_fits_no_run_or_several_lists_the_candidates(text: str) -> None:
    create_run(PLAN, "cat-one")
    create_run(PLAN, "cat-two")
    with pytest.raises(UserError) as caught:
        find_run(text)
    assert "cat-one" in str(caught.value)
    assert "cat-two" in str(caught.value)


PLAN = 'name = "x"\n'


def test_a_run_with_a_directory_of_its_own_is_listed_and_found(home: Path, tmp_path: Path) -> None:
    inside = create_run(PLAN, "inside")
    outside = create_run(PLAN, "outside", tmp_path / "disk" / "outside")
    assert {run.path for run in list_runs()} == {inside.path, outside.path}
    assert find_run("outside") == outside
    assert list_runs(tmp_path / "disk") == [outside]


def test_the_note_about_a_run_goes_with_the_run_but_not_with_its_disk(home: Path, tmp_path: Path) -> None:
    gone = create_run(PLAN, "gone", tmp_path / "gone")
    away = create_run(PLAN, "away", tmp_path / "disk" / "away")
    notes = runs_root() / ".elsewhere"
    shutil.rmtree(gone.path)
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    assert list_runs() == []
    assert len(list(notes.iterdir())) == 1
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert list_runs() == [away]


def test_a_run_is_made_where_no_note_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs").write_text("a file where the folder should be")
    monkeypatch.setenv("SDTRAIN_HOME", str(tmp_path / "home"))
    assert create_run(PLAN, "x", tmp_path / "own").exists()


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_start_that_fails_leaves_nothing_behind(
    given: bool, there: bool, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "deep" / "place"
    if there:
        place.mkdir(parents=True)
    runs_root().mkdir(parents=True)
    cache_root().mkdir()
    before = _tree(tmp_path)

    def full(path: Path, data: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("engine.run.create.write_atomic", full)
    with pytest.raises(UserError, match="no space") as caught:
        create_run(PLAN, "cat", place if given else None)
    assert "free some space" in caught.value.fix
    assert _tree(tmp_path) == before
    monkeypatch.undo()
    monkeypatch.setenv("SDTRAIN_HOME", str(home))
    assert create_run(PLAN, "cat", place if given else None).exists()


@pytest.mark.parametrize("kind", ["file", "link to itself", "dangling link"])
def test_a_cache_that_cannot_be_made_is_named_as_the_cache(kind: str, home: Path, tmp_path: Path) -> None:
    home.mkdir()
    root = cache_root()
    if kind == "file":
        root.write_text("")
    else:
        root.symlink_to(root if kind == "link to itself" else tmp_path / "missing" / "place")
    with pytest.raises(UserError) as caught:
        create_run(PLAN, "cat", tmp_path / "run")
    assert caught.value.what == f"The cache cannot be written: {root}"
    assert "--dir" not in caught.value.fix
    assert not (tmp_path / "run").exists()


def test_folders_are_their_owners_and_files_follow_the_umask(home: Path, tmp_path: Path) -> None:
    run, away = create_run(PLAN, "cat"), create_run(PLAN, "x", tmp_path / "away")
    for folder in (run.path, away.path, runs_root(), cache_root()):
        assert folder.stat().st_mode & 0o777 == 0o700
    before = os.umask(0o077)
    try:
        closed = create_run(PLAN, "closed")
    finally:
        os.umask(before)
    assert closed.plan_file.stat().st_mode & 0o777 == 0o600
    assert run.plan_file.stat().st_mode & 0o777 == 0o666 & ~before


def test_a_run_is_called_in_commands_by_what_finds_it(home: Path, tmp_path: Path) -> None:
    run = create_run(PLAN, "cat")
    assert handle(run) == "cat"
    moved = RunDir(tmp_path / "my disk" / "cat")
    moved.path.parent.mkdir()
    run.path.rename(moved.path)
    assert handle(moved) == f"'{moved.path}'"
    remember(moved)
    assert handle(moved) == "cat"
    assert list_runs() == [moved]
    create_run(PLAN, "cat")
    assert handle(moved) == f"'{moved.path}'", "the name now means another"
