"""kohya's folders: N_words is a set of "words" that counts N times, img/ holds the sets, reg/ class pictures."""

from __future__ import annotations

import os
from pathlib import Path

from engine.dataset.beside import CLASS, folder_kind
from engine.dataset.names import has_picture_suffix
from engine.dataset.repeat_folders import IMAGES, named
from engine.plan.layouts.base import Layout
from engine.plan.picture_sets import PictureSet, SetKind


def read(path: Path) -> Layout | None:
    """The sets of a folder that holds more than one, or class pictures beside one."""
    if not path.is_dir() or named(path.absolute().name) is not None:
        return None
    inside = _Folder(path)
    if inside.pictures:
        return None
    pictures = _named(path, "", inside, "pictures")
    classes: list[PictureSet] = []
    for name in inside.folders:
        if name.lower() in IMAGES:
            pictures += _sets(path, name, "pictures")
        elif folder_kind(name, inside.folders) is CLASS:
            classes += _sets(path, name, "class")
    if not pictures or len(pictures) + len(classes) < 2:
        return None
    kinds = f"{len(pictures)} sets" if len(pictures) > 1 else "a set"
    beside = " and class pictures" if classes else ""
    return Layout(f"kohya's folders: {kinds}{beside}", str(path), (*pictures, *classes))


class _Folder:
    """The names in a folder: its sub-folders, and whether pictures lie in it directly."""

    def __init__(self, path: Path) -> None:
        self.folders: list[str] = []
        self.pictures = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        self.folders.append(entry.name)
                    elif has_picture_suffix(entry.name):
                        self.pictures = True
        except OSError:
            return  # what cannot be read is said where pictures are looked for
        self.folders.sort()


def _sets(root: Path, name: str, kind: SetKind) -> list[PictureSet]:
    """The sets in a folder such as img/, or the folder itself where pictures lie in it without any."""
    inside = _Folder(root / name)
    found = _named(root, f"{name}/", inside, kind)
    return found or ([PictureSet(path=name, kind=kind)] if inside.pictures else [])


def _named(root: Path, below: str, inside: _Folder, kind: SetKind) -> list[PictureSet]:
    sets = (named(f"{below}{name}") for name in inside.folders)
    # The words stand for pictures without a caption; where there is one, kohya's scripts take it as it is.
    return [
        PictureSet(path=one.name, kind=kind, repeats=one.repeats, trigger=one.words, add_trigger=False)
        for one in sets
        if one is not None
    ]
