"""SimpleTuner's data backends, the JSON list of `--data_backend_config`: local folders of pictures, each with repeats.

Source: documentation/DATALOADER.md of SimpleTuner. Its `repeats` counts what comes on top of the first time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.layouts.base import Layout, place, read_table
from engine.plan.picture_sets import PictureSet

_IMAGES = ("", "image")
_CROPPED = ("random",)


def read(path: Path) -> Layout | None:
    """The local sets that are switched on; those in the cloud, and what is no set of pictures, are named."""
    table = read_table(path, ".json")
    if not isinstance(table, list) or not table:
        return None
    backends = [each for each in table if isinstance(each, dict) and "id" in each and "type" in each]
    if len(backends) != len(table):
        return None
    on = [each for each in backends if each.get("disabled") is not True]
    pictures = [each for each in on if each.get("dataset_type", "") in _IMAGES]
    sets = [_set(each, path) for each in pictures if each["type"] == "local"]
    if not sets:
        raise UserError(f"{path} names no local set of pictures", "sets lie on this machine", "add one")
    return Layout(f"SimpleTuner's data backends {path.name}", "", tuple(sets), tuple(_unread(pictures)))


def _unread(backends: list[dict[str, Any]]) -> Iterator[str]:
    for each in backends:
        name = each["id"]
        if each["type"] != "local":
            yield f"type = {each['type']!r} ({name})"
        if (strategy := each.get("caption_strategy", "textfile")) not in ("textfile", "instanceprompt"):
            yield f"caption_strategy = {strategy!r} ({name})"
        if each.get("probability", 1) != 1:
            yield f"probability = {each['probability']!r} ({name})"


def _set(backend: Mapping[str, Any], path: Path) -> PictureSet:
    name = str(backend["id"])
    repeats = backend.get("repeats", 0)
    found: dict[str, Any] = {
        "path": place(backend.get("instance_data_dir"), path, f"{name}.instance_data_dir"),
        "kind": "class" if backend.get("is_regularisation_data") is True else "pictures",
        "repeats": repeats + 1 if isinstance(repeats, int) else repeats,
    }
    if backend.get("crop") is True:
        found["bucket"] = backend.get("crop_aspect", "square") != "square"
        found["random_crop"] = backend.get("crop_style", "random") in _CROPPED
    if words := backend.get("instance_prompt"):
        found |= {"trigger": words, "add_trigger": backend.get("prepend_instance_prompt") is True}
    if (side := backend.get("resolution")) is not None:
        found["resolution"] = _side(side, str(backend.get("resolution_type", "pixel_area")), path, name)
    try:
        return PictureSet.model_validate(found)
    except ValueError as error:
        told = " ".join(str(error).splitlines()[1:3])
        raise UserError(f"{path}: {name} cannot be read", told, "correct the file") from error


def _side(value: object, kind: str, path: Path, name: str) -> int:
    """The side of the square: of as many megapixels (area), or as it is said (pixel_area, pixel)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 8192:
        raise UserError(f"{path}: {name}.resolution is none", "it is a number", "correct it")
    pixels = math.sqrt(value) * 1000 if kind == "area" else float(value)
    return max(32, round(pixels / 8) * 8)
