"""Tags of pictures by WD14 and its successors, through onnxruntime."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.captioning.models import NETWORK, TAGS
from engine.dataset.images import Pixels
from engine.dataset.metadata import clean
from engine.errors import UserError
from engine.installing import pip_install

RUNTIME = "onnxruntime>=1.20,<2"
GENERAL, CHARACTER = 0, 4
"""Categories of selected_tags.csv that become tags; the others are ratings."""
# kohya's scripts leave the underscores in faces such as ^_^ too.
FACE = 3


@dataclass(frozen=True)
class Tag:
    """A tag as captions write it, and its category."""

    name: str
    category: int


def obstacle() -> UserError | None:
    """Why no tagger can run here; none where one can."""
    if find_spec("onnxruntime") is not None:
        return None
    return UserError("taggers need the package onnxruntime", "it is not installed", pip_install(RUNTIME))


def load(
    folder: Path, threshold: float, of_characters: float, without: Collection[str] = ()
) -> Callable[[Pixels], str]:
    """What lists the tags of a picture (uint8, H x W x 3, RGB), characters first, the surest of a kind before others.

    A tag counts from the probability `threshold`, a character from `of_characters`; `without` are never listed.
    """
    if problem := obstacle():
        raise problem
    import onnxruntime

    try:
        session: Any = onnxruntime.InferenceSession(
            str(folder / NETWORK), providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own for each way to fail
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "get the file again"
        raise UserError(f"{folder / NETWORK} cannot be loaded", reason, fix) from None
    given, tags = session.get_inputs()[0], read_tags(folder / TAGS)
    side = _side(folder, given.shape)
    left_out = {name.strip().lower() for name in without}

    def describe(pixels: Pixels) -> str:
        (answer, *_) = session.run(None, {given.name: prepared(pixels, side)})
        chances = np.asarray(answer, dtype=np.float32).reshape(-1)
        if len(chances) != len(tags):
            what = f"the tagger gives {len(chances)} numbers, and {TAGS} has {len(tags)} tags"
            raise UserError(what, "the two files are of different models", "get both again")
        return listed(tags, chances.tolist(), threshold, of_characters, left_out)

    return describe


def listed(
    tags: Sequence[Tag],
    chances: Sequence[float],
    threshold: float,
    of_characters: float,
    without: Collection[str],
) -> str:
    """The tags that are likely enough, with commas between them."""
    found = sorted(zip(chances, tags, strict=True), key=lambda pair: -pair[0])
    likely = [
        (CHARACTER, of_characters),
        (GENERAL, threshold),
    ]
    return ", ".join(
        tag.name
        for category, least in likely
        for chance, tag in found
        if tag.category == category and chance >= least and tag.name.lower() not in without
    )


def prepared(pixels: Pixels, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The picture as these taggers were trained on it: [1, side, side, 3], blue first, 0 to 255, white around it."""
    picture = Image.fromarray(pixels)
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), (255, 255, 255))
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    resized = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized, dtype=np.float32)[None, :, :, ::-1])


def read_tags(file: Path) -> list[Tag]:
    """The rows of selected_tags.csv, one for each of the tagger's numbers."""
    try:
        with file.open(encoding="utf-8", newline="") as rows:
            return [Tag(_readable(row["name"]), int(row["category"])) for row in csv.DictReader(rows)]
    except (OSError, UnicodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{file} cannot be read", why, "get the file again: columns name and category"
        ) from None


def _readable(name: str) -> str:
    return clean(name.replace("_", " ") if len(name) > FACE else name)


def _side(folder: Path, shape: Sequence[object]) -> int:
    """The side of the pictures that the network takes."""
    if len(shape) == 4 and shape[3] == 3 and isinstance(shape[1], int) and shape[1] == shape[2]:
        return shape[1]
    what = f"{folder / NETWORK} takes {list(shape)}"
    why = "taggers of this kind take [pictures, side, side, 3]"
    raise UserError(what, why, "choose a tagger of SmilingWolf's, such as wd-vit-tagger-v3")
