"""Which widths a UNet of a family can have, and its config with other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

from engine.errors import UserError

Config = Mapping[str, Any]
SHARES = {"base": 1.0, "small": 3 / 4, "narrow": 2 / 5}
"""The size presets, as shares of the base model's widths."""


def grains(config: Config) -> list[int]:
    """What each level's width must be a multiple of: whole norm groups and whole attention heads.

    diffusers' `attention_head_dim` is the number of heads: one for all levels (SD 1.x), or one a level, which
    then grow with the width so that a head stays as wide as it is (SD 2.x, SDXL).
    """
    groups, heads = int(config.get("norm_num_groups") or 32), config["attention_head_dim"]
    widths = [int(width) for width in config["block_out_channels"]]
    if isinstance(heads, list):
        return [lcm(groups, width // int(count)) for width, count in zip(widths, heads, strict=True)]
    return [lcm(groups, int(heads))] * len(widths)


def widths_of(config: Config, size: str, own: Sequence[int] = ()) -> list[int]:
    """The widths of a size preset, or the `own` ones, checked; UserError says what would fit."""
    usual, steps = [int(width) for width in config["block_out_channels"]], grains(config)
    if size != "own":
        share = SHARES[size]
        return [
            max(step, round(width * share / step) * step) for width, step in zip(usual, steps, strict=True)
        ]
    if problem := problem_of(config, own):
        raise UserError("scratch.widths does not fit this family", problem, f"for example {list(usual)}")
    return list(own)


def problem_of(config: Config, own: Sequence[int]) -> str:
    """Why a UNet like this cannot have these widths; empty where it can."""
    steps = grains(config)
    if len(own) != len(steps):
        return f"it takes one width a level, {len(steps)} in all, and {len(own)} are given"
    for level, (width, step) in enumerate(zip(own, steps, strict=True), 1):
        if width < step or width % step:
            return f"level {level} must be a multiple of {step} (norm groups and heads), and {width} is given"
    return ""


def with_widths(config: Config, widths: Sequence[int]) -> dict[str, Any]:
    """The same UNet config with these widths, heads as wide as before."""
    changed = {**config, "block_out_channels": list(widths)}
    heads, usual = config["attention_head_dim"], config["block_out_channels"]
    if isinstance(heads, list):
        each = [int(width) // int(count) for width, count in zip(usual, heads, strict=True)]
        changed["attention_head_dim"] = [width // head for width, head in zip(widths, each, strict=True)]
    return changed
