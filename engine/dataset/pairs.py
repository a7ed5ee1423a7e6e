"""Finds the condition picture of every picture, for ControlNet and T2I-Adapter, and names each that is missing."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.dataset.findings import Finding, printable
from engine.dataset.images import Pixels, load_rgb, placement, read_header
from engine.dataset.metadata import read_metadata
from engine.dataset.names import PictureNames, alike, stem_of
from engine.dataset.refusals import PictureError
from engine.dataset.report import DatasetReport, Item
from engine.dataset.sources import Source
from engine.dataset.tables import CONDITION_COLUMN, is_table
from engine.dataset.walk import walk

SAME_SHAPE = 0.03
"""Detectors round their maps' sides to a grid of 64 px, which changes the shape of a 2048 px side by 3 %."""
Crop = tuple[float, float]


@dataclass(frozen=True)
class Pairs:
    """Which pictures can be trained on with a condition, and where each condition lies.

    `report` holds only those; `files` has a condition's path by picture, `problems` what was left out and why.
    """

    report: DatasetReport
    files: dict[str, Source]
    problems: tuple[Finding, ...]


def pair_up(report: DatasetReport, condition_path: str) -> Pairs:
    """Pair a data set's pictures with the pictures of a folder that have the same names (with any suffix), or
    with those of the metadata's column where `condition_path` is empty. A shard's sample has its condition in
    the sample itself, as KEY.condition.png. Reads headers, writes nothing.
    """
    root = Path(report.folder)
    items: list[Item]
    found: Mapping[str, Source]
    problems: list[Finding]
    in_shards = any(item.span is not None for item in report.items)
    if in_shards and condition_path:
        return Pairs(_only(report, ()), {}, (_apart(),))
    if in_shards:
        items, problems = list(report.items), []
        found = {item.rel: item.condition for item in items if item.condition is not None}
    elif condition_path:
        folder = Path(condition_path).expanduser()
        items = [item for item in report.items if not _below(item.path, folder)]
        found, problems = _by_name(items, folder, report.recursive)
    else:
        named, problems = _by_column(root, PictureNames(item.rel for item in report.items))
        found, conditions = named, {os.path.realpath(path) for path in named.values()}
        items = [item for item in report.items if os.path.realpath(item.path) not in conditions]
    kept: list[Item] = []
    files: dict[str, Source] = {}
    for item in items:
        path = found.get(item.rel)
        finding = _missing(item, condition_path) if path is None else _mismatch(item, path)
        if finding is not None:
            problems.append(finding)
        elif path is not None:
            kept.append(item)
            files[item.rel] = path
    if items and not kept:
        problems = [_none(items, condition_path), *problems]
    return Pairs(_only(report, kept), files, tuple(problems))


def fit_condition(pixels: Pixels, item: Item, size: tuple[int, int], crop: Crop = (0.5, 0.5)) -> Pixels:
    """The part of a condition (uint8, H x W x 3) that lies under the crop of its picture, at `size`.

    The box follows from the picture's own sides, so both are cut alike even where their sides differ.
    """
    high, wide = pixels.shape[:2]
    placed = placement(item.width, item.height, size, crop)
    if (round(placed.width), round(placed.height)) == (wide, high):
        cut: Pixels = pixels[placed.top : placed.top + size[1], placed.left : placed.left + size[0]]
        if cut.shape[:2] == (size[1], size[0]):
            return np.ascontiguousarray(cut)
    across, down = wide / placed.width, high / placed.height
    left, top = placed.left * across, placed.top * down
    box = (left, top, min(float(wide), left + size[0] * across), min(float(high), top + size[1] * down))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box=box), dtype=np.uint8)


def load_condition(path: Source) -> Pixels:
    """A condition picture as upright RGB; transparent parts are black, as where a map has nothing to say."""
    return load_rgb(path, background=(0, 0, 0))


def _by_name(items: Sequence[Item], folder: Path, recursive: bool) -> tuple[dict[str, Path], list[Finding]]:
    listing = walk(folder, recursive)
    problems = list(listing.problems)
    by_stem: dict[str, str] = {}
    for name in listing.pictures:
        stem = stem_of(name)
        if by_stem.setdefault(stem, name) != name:
            what = f"is a second condition of that name; {printable(by_stem[stem])} is used"
            problems.append(_warn("two-conditions", name, what, "", "take one of them away"))
    near = {alike(stem): name for stem, name in by_stem.items()}
    stems = ((item.rel, stem_of(item.rel)) for item in items)
    found = {rel: by_stem.get(stem) or near.get(alike(stem)) for rel, stem in stems}
    used = set(found.values())
    for name in by_stem.values():
        if name not in used:
            what, why = "is a condition without a picture", "no picture of that name is trained on"
            problems.append(_warn("condition-alone", name, what, why, "add the picture, or take it away"))
    return {rel: folder / name for rel, name in found.items() if name is not None}, problems


def _by_column(root: Path, pictures: PictureNames) -> tuple[dict[str, Path], list[Finding]]:
    found: dict[str, Path] = {}
    problems: list[Finding] = []
    for name in walk(root, recursive=True).captions:
        if not is_table(name):
            continue
        said: list[Finding] = []
        table = read_metadata(root, name, pictures, (), said)
        problems += [finding for finding in said if finding.code == "metadata-unreadable"]
        outside = [
            f"line {number} names a condition outside the folder: {to}" for number, to in table.outside
        ]
        for picture, condition in table.conditions.items():
            path = _existing(root, condition)
            if _below(path, root):
                found.setdefault(picture, path)
            else:
                outside.append(f"the condition of {picture} is a link out of the folder: {condition}")
        fix = "copy it into the folder"
        problems += [
            _warn("condition-outside", name, printable(what), "it is not read", fix) for what in outside
        ]
    return found, problems


def _existing(root: Path, name: str) -> Path:
    """The file of that name in the Unicode form that it has on the disk."""
    forms = (root / name, *(root / unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    return next((path for path in forms if path.exists()), root / name)


def _below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _missing(item: Item, condition_path: str) -> Finding:
    where = (
        "of the same name in the folder of conditions"
        if condition_path
        else f"in a {CONDITION_COLUMN} column"
    )
    if item.span is not None:
        where = "in its sample of the shard"
    return _warn(
        "condition-missing",
        item.rel,
        "has no condition picture",
        f"there is none {where}",
        "add the condition",
    )


def _apart() -> Finding:
    what, why = (
        "a folder of conditions does not go with shards",
        "a sample of a shard brings all that it needs",
    )
    fix = 'leave condition_path out: put KEY.condition.png beside KEY.jpg, or set condition = "canny"'
    return Finding("no-conditions", ".", what, why, fix, "error")


def _mismatch(item: Item, path: Source) -> Finding | None:
    try:
        header = read_header(path)
    except PictureError as error:
        what = f"its condition picture {printable(str(path).rpartition('/')[2])} cannot be used"
        return _warn("condition-unreadable", item.rel, what, f"{error.what}: {error.why}", error.fix)
    shape, wanted = header.width / header.height, item.width / item.height
    if abs(shape / wanted - 1) <= SAME_SHAPE:
        return None
    what = f"its condition is {header.width} x {header.height}, the picture {item.width} x {item.height}"
    why = "of another shape, it does not lie on the picture"
    return _warn("condition-shape", item.rel, what, why, "make the condition from this very picture")


def _none(items: Sequence[Item], condition_path: str) -> Finding:
    what = f"none of the {len(items)} pictures has a condition picture that can be used"
    if condition_path:
        why, fix = "each is listed with its reason", "give both files of a pair the same name"
    elif items[0].span is not None:
        why = "each sample of a shard brings its own, and none is there that can be used"
        fix = 'put KEY.condition.png beside KEY.jpg, or set condition = "canny" to make the maps'
    else:
        why = f"no condition_path is given, and no metadata table has the column {CONDITION_COLUMN}"
        fix = 'set condition_path, or condition = "canny" to make the maps from the pictures'
    return Finding("no-conditions", ".", what, why, fix, "error")


def _warn(code: str, file: str, what: str, why: str, fix: str) -> Finding:
    return Finding(code, printable(file), what, why, fix, "warning")


def _only(report: DatasetReport, items: Sequence[Item]) -> DatasetReport:
    table = Counter(size for item in items for size in item.sizes)
    buckets = dict(sorted(table.items(), key=lambda entry: (-entry[1], entry[0])))
    counts = replace(report.counts, images=len(items))
    return replace(report, items=tuple(items), buckets=buckets, counts=counts)
