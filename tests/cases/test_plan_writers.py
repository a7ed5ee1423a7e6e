"""What writes a plan keeps the old file until the new one is whole; names that are not UTF-8 are refused before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.plan.files import dumps, from_dict, load_plan, save_plan
from engine.run.create import create_run
from tests.cli.conftest import Cli
from tests.support.plans import make_plan

ODD = os.fsdecode(b"caf\xe9")
PLAN = from_dict({"name": "x", "base": {"model": "builtin:tiny"}, "data": {"path": "/pictures"}})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def odd_pictures(pictures: Path) -> Path:
    folder = pictures.parent / ODD
    pictures.rename(folder)
    return folder


def test_a_refused_plan_leaves_the_old_one_as_it_was(cli: Cli, odd_pictures: Path) -> None:
    (cli.folder / "good.toml").write_text("old")
    before = names(cli.folder)
    done = cli("new", "--base", "builtin:tiny", "--data", str(odd_pictures), "-o", "good.toml", "--force")
    assert done.code == 2 and "not UTF-8" in done.err and "data.path" in done.err
    assert (cli.folder / "good.toml").read_text() == "old"
    assert names(cli.folder) == before


@pytest.mark.parametrize("flag", ["--base", "-o", "--name", "--trigger"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_new_refuses_what_is_not_utf8_before_it_writes(
    cli: Cli, pictures: Path, flag: str, more: tuple[str, ...]
) -> None:
    before = names(cli.folder)
    done = cli("new", "--base", "builtin:tiny", "--data", str(pictures), flag, ODD, *more)
    assert done.code == 2 and "not UTF-8" in done.err
    assert names(cli.folder) == before


def test_a_plan_in_a_folder_that_is_not_utf8_works_with_absolute_paths_alone(
    cli: Cli, pictures: Path
) -> None:
    folder = cli.folder / ODD
    folder.mkdir()
    text = dumps(PLAN).replace("/pictures", str(pictures))
    (folder / "plan.toml").write_text(text)
    assert cli("check", str(folder / "plan.toml")).code == 0
    (folder / "plan.toml").write_text(text.replace(str(pictures), "pictures"))
    done = cli("check", str(folder / "plan.toml"))
    assert done.code == 2 and "data.path" in done.err and "not UTF-8" in done.err


def test_a_run_is_not_made_in_a_folder_that_is_not_utf8(
    cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_file = cli.folder / "plan.toml"
    save_plan(plan_file, make_plan(pictures))
    done = cli("run", str(plan_file), "--dir", str(cli.folder / ODD), "--detach")
    assert done.code == 2 and "not UTF-8" in done.err and not (cli.folder / ODD).exists()
    assert cli("export", "any", "--format", "kohya", "-o", ODD).code == 2
    assert cli("demo", "--dir", str(cli.folder / ODD)).code == 2
    monkeypatch.setenv("SDTRAIN_HOME", str(cli.folder / ODD))
    with pytest.raises(UserError, match="cannot be kept"):
        create_run(dumps(PLAN), "x")
    assert not (cli.folder / ODD).exists()


@pytest.mark.parametrize("replace", [False, True])
def test_a_full_disk_leaves_the_old_plan_and_no_other_file(
    tmp_path: Path, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plan.toml"
    if replace:
        file.write_text("old")
    before = names(tmp_path)

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.files.os.write", full)
    with pytest.raises(OSError, match="No space"):
        save_plan(file, PLAN, replace=replace)
    assert names(tmp_path) == before and (not replace or file.read_text() == "old")


def test_a_plan_is_never_written_over_what_is_there_unasked(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    save_plan(file, PLAN)
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        save_plan(file, PLAN.model_copy(update={"name": "y"}))
    assert file.read_bytes() == before and names(tmp_path) == ["plan.toml"]
    save_plan(file, PLAN.model_copy(update={"name": "y"}), replace=True)
    assert load_plan(file).name == "y" and names(tmp_path) == ["plan.toml"]


def test_without_hard_links_a_new_plan_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*words: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("engine.files.os.link", no_links)
    save_plan(tmp_path / "plan.toml", PLAN)
    with pytest.raises(FileExistsError):
        save_plan(tmp_path / "plan.toml", PLAN)
    assert names(tmp_path) == ["plan.toml"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("old")
    link = tmp_path / "link.toml"
    link.symlink_to("real.toml")
    save_plan(link, PLAN, replace=True)
    assert link.is_symlink() and load_plan(tmp_path / "real.toml").name == "x"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="no plain file"):
        save_plan(pipe, PLAN, replace=True)
    assert pipe.is_fifo()
