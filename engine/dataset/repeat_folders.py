"""Folders named as kohya's scripts want them: 10_sks dog holds pictures of "sks dog" that count ten times each."""

import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.dataset.findings import Finding, printable
from engine.dataset.names import has_picture_suffix, nfc

# Four digits are a year, and numbers with a leading zero count the folders.
_NAME = re.compile(r"([1-9]\d{0,2})_(\S.*)")
IMAGES = ("img", "image", "images", "train")
"""What a kohya project calls the folder of its sets."""


@dataclass(frozen=True, slots=True)
class RepeatFolder:
    """A folder named N_words; `name` is relative to the data's folder, or its own name."""

    name: str
    repeats: int
    words: str


def named(path: str) -> RepeatFolder | None:
    """What the last part of a path says, where it is of that form."""
    found = _NAME.fullmatch(path.rpartition("/")[2])
    return RepeatFolder(path, int(found[1]), nfc(found[2].strip())) if found else None


def only_set(folder: Path) -> RepeatFolder | None:
    """The set that a data folder is, or that alone lies in it, in its folder of images too. Reads names only."""
    if own := named(folder.absolute().name):
        return own
    found: list[RepeatFolder] = []
    for place in ("", *IMAGES):
        try:
            with os.scandir(folder / place) as entries:
                here = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:
            continue
        if any(has_picture_suffix(entry.name) and entry.is_file() for entry in here):
            return None
        sets = (named(posixpath.join(place, entry.name)) for entry in here if entry.is_dir())
        found += [one for one in sets if one is not None]
    return found[0] if len(found) == 1 else None


def about_sets(root: Path, pictures: Mapping[str, bool], class_folders: Iterable[str]) -> list[Finding]:
    """What is said of sets among the pictures, which are given with whether they have a caption of their own.

    Several sets are refused, because each has a trigger and repeats of its own: unless all have the same repeats
    and every picture says in its caption what it is. `class_folders` are those of class pictures.
    """
    folders = {name.rpartition("/")[0] for name in pictures if "/" in name}
    sets = {found.name: found for folder in folders for found in _on_the_way(folder)}
    found = [sets[name] for name in sorted(sets)]
    project = [name for name in class_folders if _beside_images(name, folders)]
    if project:
        return [_project(root, found, project[0])]
    if len(found) > 1:
        alike = len({one.repeats for one in found}) == 1 and all(pictures.values())
        return [_several_alike(found) if alike else _several(root, found)]
    if found and not all(name.startswith(f"{found[0].name}/") for name in pictures):
        return [_among_others(found[0])]
    if not found and (own := named(root.absolute().name)):
        found = [own]
    return [_single(found[0])] if found else []


def _on_the_way(folder: str) -> list[RepeatFolder]:
    """The outermost set that a folder lies in."""
    parts = folder.split("/")
    for end in range(1, len(parts) + 1):
        if found := named("/".join(parts[:end])):
            return [found]
    return []


def _beside_images(name: str, folders: Iterable[str]) -> bool:
    parent = posixpath.dirname(name)
    first = (
        folder[len(parent) :].strip("/").split("/")[0] for folder in folders if folder.startswith(parent)
    )
    return any(part.lower() in IMAGES or named(part) is not None for part in first)


def _info(code: str, what: str, why: str, fix: str) -> Finding:
    return Finding(code, ".", what, why, fix, "info")


def _single(one: RepeatFolder) -> Finding:
    what = (
        f"{printable(one.name)} is named as kohya's scripts want it: {one.repeats} repeats of {one.words!r}"
    )
    why = "a plan says so with data.repeats and data.trigger; sdtrain new and the wizard take them from the name"
    return _info(
        "repeat-folder", what, why, f"set data.trigger = {one.words!r} and data.repeats = {one.repeats}"
    )


def _among_others(one: RepeatFolder) -> Finding:
    what = f"{printable(one.name)} is named as kohya's scripts want it, and other pictures lie beside it"
    why = "all are taken alike: its number of repeats and its words are not used"
    return Finding("repeat-folder", ".", what, why, f"point data.path at {printable(one.name)}", "warning")


def _several_alike(found: list[RepeatFolder]) -> Finding:
    what = (
        f"{_names(found)} are named as kohya's scripts want it, with the same repeats and captions throughout"
    )
    why = "so they are read as one set; the words of their names are not used"
    return _info("repeat-folders", what, why, f"set data.repeats = {found[0].repeats}")


def _several(root: Path, found: list[RepeatFolder]) -> Finding:
    what = f"holds several sets as kohya's scripts name them: {_names(found)}"
    why = "each has words and a number of repeats of its own, and a plan has one data.trigger and one data.repeats"
    first = found[0]
    fix = (
        f"point data.path at one of them, such as {printable(str(root / first.name))}, with "
        f"data.trigger = {first.words!r} and data.repeats = {first.repeats}; to train on all of them, give each as a "
        "table [[data.sets]]: sdtrain new writes them for a folder that holds sets alone"
    )
    return Finding("several-sets", ".", what, why, fix, "error")


def _project(root: Path, found: list[RepeatFolder], classes: str) -> Finding:
    sets = _names(found) or "a folder of images"
    what = f"is a kohya project: {sets}, and class pictures in {printable(classes)}"
    why = "class pictures have a place of their own in a plan, and a plan trains one set"
    one = printable(str(root / (found[0].name if found else IMAGES[0])))
    which = f"one set, such as {one}" if len(found) > 1 else one
    fix = f"set data.path to {which}, and data.class_path to {printable(str(root / classes))}"
    return Finding("several-sets", ".", what, why, fix, "error")


def _names(found: list[RepeatFolder]) -> str:
    shown = ", ".join(printable(one.name) for one in found[:4])
    return shown + (f" and {len(found) - 4} more" if len(found) > 4 else "")
