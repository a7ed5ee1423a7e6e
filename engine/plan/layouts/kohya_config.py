"""kohya's dataset config, the TOML file of `--dataset_config`: [general], [[datasets]], [[datasets.subsets]].

Source: the documentation of the config in kohya's sd-scripts (config_README).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.layouts.base import Layout, place, read_table
from engine.plan.picture_sets import PictureSet

_FIELDS = {
    "num_repeats": "repeats",
    "flip_aug": "flip",
    "random_crop": "random_crop",
    "shuffle_caption": "shuffle_tags",
    "keep_tokens": "keep_tags",
    "caption_dropout_rate": "caption_dropout",
    "enable_bucket": "bucket",
}
"""Its keys and a set's, where the value is the same."""
_READ = {"image_dir", "class_tokens", "is_reg", "resolution", "subsets", *_FIELDS}
_HARMLESS = {
    "caption_extension",
    "caption_extention",
    "batch_size",
    "cache_info",
    "min_bucket_reso",
    "max_bucket_reso",
}
_HARMLESS |= {"bucket_reso_steps", "bucket_no_upscale", "metadata_file"}
"""Keys that change nothing here: captions are found under every suffix, the plan has one batch size."""


def read(path: Path) -> Layout | None:
    """The sets of such a file."""
    table = read_table(path, ".toml")
    datasets = table.get("datasets") if isinstance(table, dict) else None
    if not isinstance(datasets, list) or not datasets:
        return None
    general = _table(table.get("general", {}), path, "general")
    sets: list[PictureSet] = []
    unread: dict[str, object] = {}
    for number, each in enumerate(datasets):
        dataset = {**general, **_table(each, path, f"datasets.{number}")}
        subsets = dataset.get("subsets", [])
        for place_in, subset in enumerate(subsets if isinstance(subsets, list) else []):
            key = f"datasets.{number}.subsets.{place_in}"
            values = {**dataset, **_table(subset, path, key)}
            sets.append(_set(values, path, key))
            unread |= {
                name: value for name, value in values.items() if name not in _READ | _HARMLESS and value
            }
    if not sets:
        raise UserError(f"{path} names no set", "[[datasets.subsets]] with image_dir are read", "add one")
    said = tuple(f"{name} = {value!r}" for name, value in sorted(unread.items()))
    return Layout(f"kohya's dataset config {path.name}", "", tuple(sets), said)


def _table(value: object, path: Path, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} is no table", "a dataset config has tables there", f"correct {key}")
    return value


def _set(values: Mapping[str, Any], path: Path, key: str) -> PictureSet:
    found: dict[str, Any] = {ours: values[theirs] for theirs, ours in _FIELDS.items() if theirs in values}
    if (side := values.get("resolution")) is not None:
        found["resolution"] = _side(side, path, key)
    if words := values.get("class_tokens"):
        found |= {"trigger": words, "add_trigger": False}
    found["kind"] = "class" if values.get("is_reg") is True else "pictures"
    found["path"] = place(values.get("image_dir"), path, f"{key}.image_dir")
    if isinstance(share := found.get("caption_dropout"), int):
        found["caption_dropout"] = float(share)
    try:
        return PictureSet.model_validate(found)
    except ValueError as error:
        first = str(error).splitlines()
        raise UserError(f"{path}: {key} cannot be read", " ".join(first[1:3]), "correct the file") from error


def _side(value: object, path: Path, key: str) -> int:
    """One side for theirs, a number or [width, height]: the square of the same area, a multiple of 8."""
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) == 1:
        sides = [*sides, *sides]
    known = [side for side in sides if type(side) is int and 8 <= side <= 8192]
    if len(known) != 2 or len(sides) != 2:
        raise UserError(f"{path}: {key}.resolution is none", "it is a number of pixels, or two", "correct it")
    return max(32, round(math.sqrt(known[0] * known[1]) / 8) * 8)
