"""The check of file lengths: it names what is too long and what need not be on its list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.file_length import wrong


def project(root: Path, files: dict[str, int], listed: list[str]) -> Path:
    """A project with files of so many lines, the limit 10 and these files on the list."""
    table = "".join(f'"{name}" = "one idea"\n' for name in listed)
    (root / "pyproject.toml").write_text(
        f'[tool.file-length]\nlimit = 10\nfolders = ["src"]\n[tool.file-length.one-idea]\n{table}'
    )
    for name, lines in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("pass\n" * lines)
    return root


@pytest.mark.parametrize(
    ("files", "listed", "named"),
    [
        ({"src/a.py": 10, "src/deep/b.py": 3}, [], []),
        ({"src/deep/b.py": 11}, [], ["src/deep/b.py: 11 lines"]),
        ({"src/deep/b.py": 11}, ["src/deep/b.py"], []),
        ({"src/a.py": 10}, ["src/a.py"], ["src/a.py: not over 10"]),
        ({"src/a.py": 1}, ["src/gone.py"], ["src/gone.py: not over 10"]),
        ({"other/a.py": 11, "src/a.txt": 11}, [], []),
    ],
)
def test_long_files_and_needless_exceptions_are_named(
    tmp_path: Path, files: dict[str, int], listed: list[str], named: list[str]
) -> None:
    found = wrong(project(tmp_path, files, listed))
    assert [line.split(" lines")[0] for line in found] == [line.split(" lines")[0] for line in named]
