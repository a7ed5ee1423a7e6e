"""OneTrainer's concepts, the JSON list of training_concepts/concepts.json: folders, weights and augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.layouts.base import Layout, place, read_table
from engine.plan.picture_sets import PictureSet

_CLASS = "PRIOR_PREDICTION"


def read(path: Path) -> Layout | None:
    """The concepts that are switched on; those that only validate are left out and named."""
    table = read_table(path, ".json")
    if not isinstance(table, list) or not table:
        return None
    concepts = [each for each in table if isinstance(each, dict) and "path" in each]
    if len(concepts) != len(table):
        return None
    on = [each for each in concepts if each.get("enabled", True) is True]
    return Layout(f"OneTrainer's concepts {path.name}", "", sets_of(concepts, path), tuple(_unread(on)))


def sets_of(concepts: list[dict[str, Any]], path: Path) -> tuple[PictureSet, ...]:
    """The concepts of a list that are switched on and train; `path` is the file that they stand in."""
    on = [each for each in concepts if each.get("enabled", True) is True]
    sets = [_set(each, path, number) for number, each in enumerate(on) if each.get("type") != "VALIDATION"]
    if not sets:
        raise UserError(f"{path} has no concept that is switched on", "they are the sets", "switch one on")
    return tuple(sets)


def _unread(concepts: list[dict[str, Any]]) -> Iterator[str]:
    for each in concepts:
        name = each.get("name") or each["path"]
        if each.get("type") == "VALIDATION":
            yield f"type = 'VALIDATION' ({name})"
        if (strategy := each.get("balancing_strategy", "REPEATS")) != "REPEATS":
            yield f"balancing_strategy = {strategy!r} ({name})"
        if (source := _inside(each, "text").get("prompt_source", "sample")) != "sample":
            yield f"text.prompt_source = {source!r} ({name})"


def _inside(concept: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = concept.get(name)
    return found if isinstance(found, dict) else {}


def _set(concept: Mapping[str, Any], path: Path, number: int) -> PictureSet:
    image, text = _inside(concept, "image"), _inside(concept, "text")
    found: dict[str, Any] = {
        "path": place(concept["path"], path, f"concept {number}.path"),
        "kind": "class" if concept.get("type") == _CLASS else "pictures",
        "flip": image.get("enable_random_flip") is True,
        "random_crop": image.get("enable_crop_jitter") is True,
        "shuffle_tags": text.get("enable_tag_shuffling") is True,
    }
    if concept.get("balancing_strategy", "REPEATS") == "REPEATS":
        found["repeats"] = max(1, round(_number(concept.get("balancing"), 1.0)))
    if isinstance(keep := text.get("keep_tags_count"), int):
        found["keep_tags"] = keep
    found["weight"] = _number(concept.get("loss_weight"), 1.0)
    try:
        return PictureSet.model_validate(found)
    except ValueError as error:
        lines = str(error).splitlines()
        raise UserError(
            f"{path}: concept {number} cannot be read", " ".join(lines[1:3]), "correct the file"
        ) from error


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
