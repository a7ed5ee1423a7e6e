"""What a reader of another program's layout gives."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import read_plain
from engine.plan.picture_sets import PictureSet

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Layout:
    """`sets` with paths relative to `root`, an empty text where they are absolute; `what` names the layout.

    `unread` are its own settings that no set has, each with its value, which are therefore not used.
    """

    what: str
    root: str
    sets: tuple[PictureSet, ...]
    unread: tuple[str, ...] = ()

    def placed(self) -> list[PictureSet]:
        """The sets with absolute paths."""
        return placed(self.sets, Path(self.root or "/"))


def placed(sets: Iterable[PictureSet], within: Path) -> list[PictureSet]:
    """Sets with absolute paths, read relative to `within`."""
    return [
        one.model_copy(update={"path": str((within / Path(one.path).expanduser()).resolve())}) for one in sets
    ]


def read_table(path: Path, suffix: str) -> Any:
    """The content of a TOML or JSON file with that suffix; none for another path, or one that is no such text."""
    if path.suffix.lower() != suffix or not path.is_file():
        return None
    try:
        text = read_plain(path, MAX_BYTES).decode("utf-8-sig")
        return tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None  # what a path that names no data set is told is said where pictures are looked for


def place(text: object, beside: Path, key: str) -> str:
    """An absolute path for what a file says, read from its own folder, or from the current one where it lies there."""
    if not isinstance(text, str) or not text:
        raise UserError(f"{beside}: {key} is no path", "each set lies in a folder", f"correct {key}")
    given = Path(text.replace("\\", "/")).expanduser()
    near = beside.absolute().parent / given
    return str(near if near.exists() else given.absolute())
