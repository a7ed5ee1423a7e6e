"""Captions that lie in a folder of their own, in files with the pictures' names, as `sdtrain caption` writes them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.dataset.findings import Finding, printable
from engine.dataset.names import PictureNames, stem_of
from engine.dataset.sidecars import JSON, SIDECARS, Caption, read_json_sidecars, read_sidecars


def read_folder(folder: Path, pictures: Iterable[str], problems: list[Finding]) -> dict[str, list[Caption]]:
    """The captions of `pictures`, which are relative names that the files below `folder` have too."""
    if not folder.is_dir():
        what, why = (
            f"the folder of captions, {printable(str(folder))}, does not exist",
            "captions are read from it",
        )
        fix = "correct captions.folder, or make it: sdtrain caption"
        problems.append(Finding("captions-folder", ".", what, why, fix, "error"))
        return {}
    others = sorted(_texts(folder))
    names = PictureNames(pictures)
    found = read_sidecars(folder, names, others, (), problems)
    for picture, captions in read_json_sidecars(folder, names, others, names.known).items():
        found.setdefault(picture, []).extend(captions)
    if names.known and not found:
        what = f"no file in the folder of captions, {printable(str(folder))}, has the name of a picture"
        why = "a caption is found by the name, and by the sub-folder, of its picture"
        problems.append(Finding("captions-folder", ".", what, why, "correct captions.folder", "warning"))
    return found


def file_names(pictures: Sequence[str]) -> list[str]:
    """The name of each picture's caption: with .txt for its suffix, or behind it where two would
    have one name."""
    stems = Counter(stem_of(picture) for picture in pictures)
    return [f"{stem_of(each) if stems[stem_of(each)] == 1 else each}.txt" for each in pictures]


def _texts(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        for name in files:
            if name.lower().endswith((*SIDECARS, JSON)) and not name.startswith("."):
                yield name if inside == "." else f"{inside}/{name}"
