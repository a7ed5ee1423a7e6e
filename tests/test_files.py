"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engine.files import is_disk_full, last_lines, write_all, write_atomic
from engine.folders import commit_dir


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    write_atomic(path, "old ü")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_and_no_temporary_file(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError):
        write_atomic(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_is_an_error_of_write_all() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError) as caught:
        write_all(file.fileno(), b"x")
    assert is_disk_full(caught.value)
    assert not is_disk_full(OSError(errno.EACCES, "no"))


def test_a_folder_gets_its_name_only_once(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "tmp" / "deep").mkdir(parents=True)
        (tmp_path / "tmp" / "deep" / "file").write_text(content)
        if content == "first":
            commit_dir(tmp_path / "tmp", tmp_path / "step-1")
    with pytest.raises(FileExistsError):
        commit_dir(tmp_path / "tmp", tmp_path / "step-1")
    assert (tmp_path / "step-1/deep/file").read_text() == "first"
    assert (tmp_path / "tmp/deep/file").read_text() == "second"


def test_the_last_lines_begin_after_the_given_byte_and_bear_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path) == []
    path.write_bytes(b"old\n" + b"a\n\n\xff\n" + b"x" * 20_000 + b"\nend")
    assert last_lines(path, 2)[1] == "end"
    assert last_lines(path, 9, start=path.stat().st_size - 3) == ["end"]
    assert len(last_lines(path, 2)[0]) == 400
