"""Families' published configs, and what every reader of a single file's shapes shares."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]


@cache
def _published(family: str, part: str) -> str:
    folder = files("engine").joinpath("assets", "families", family)
    return folder.joinpath(f"{part}.json").read_text(encoding="utf-8")


def published(family: str, part: str) -> Config:
    """The family's own config of a part or of the scheduler, as published."""
    config: Config = json.loads(_published(family, part))
    return config


def groups(usual: int, widths: list[int]) -> int:
    """Norm groups: the usual 32, halved until they divide every width."""
    groups = usual
    while any(width % groups for width in widths):
        groups //= 2
    return groups


def shape_of(path: Path, shapes: Shapes, name: str) -> tuple[int, ...]:
    """The shape of a tensor with two axes or more; UserError where it is missing."""
    shape = shapes.get(name)
    if shape is None or len(shape) < 2:
        raise UserError(
            f"{path} is not a whole model: {name} is missing",
            why="every checkpoint of this family has that tensor",
            fix="download or export the file again",
        )
    return shape


def odd(path: Path, part: str, why: str) -> UserError:
    """What to say of a part whose shapes do not fit together."""
    return UserError(
        f"{path} has a {part} that sdtrain cannot make out", why=why, fix="use a diffusers folder"
    )
