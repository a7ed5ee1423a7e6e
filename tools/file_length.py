"""Names every Python file that is longer than the limit and is not on the list of those that hold one idea.

The limit, the folders and the list are `[tool.file-length]` in pyproject.toml. `make check` runs
`python -m tools.file_length`, which prints what is wrong and leaves with 1, or leaves with 0.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def wrong(root: Path = ROOT) -> list[str]:
    """One sentence a file that breaks the rule: too long and not listed, or listed and not too long."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["file-length"]
    limit: int = table["limit"]
    listed: dict[str, str] = table["one-idea"]
    found = [path for folder in table["folders"] for path in sorted((root / folder).rglob("*.py"))]
    lengths = {path.relative_to(root).as_posix(): _lines(path) for path in found}
    long = {name: lines for name, lines in lengths.items() if lines > limit}
    return [
        f"{name}: {lines} lines, the limit is {limit}; split it, or name its one idea in pyproject.toml"
        for name, lines in long.items()
        if name not in listed
    ] + [
        f"{name}: not over {limit} lines; take it off the list in pyproject.toml"
        for name in listed
        if name not in long
    ]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = wrong()
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
