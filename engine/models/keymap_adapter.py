"""T2I-Adapters: diffusers' names of their parameters, and TencentARC's."""

from __future__ import annotations

import re

PREFIX = "adapter."
_RESNET = re.compile(r"body\.(\d+)\.resnets\.(\d+)\.(.+)")
_ENTRY = re.compile(r"body\.(\d+)\.in_conv\.(.+)")


def tencent(name: str, light: bool, blocks: int) -> str:
    """TencentARC's name of a diffusers parameter; full adapters count all `blocks` of all levels through."""
    plain = name.removeprefix(PREFIX)
    if found := _RESNET.fullmatch(plain):
        level, block, rest = int(found[1]), int(found[2]), found[3]
        return f"body.{level}.body.{block}.{rest}" if light else f"body.{level * blocks + block}.{rest}"
    if not light and (found := _ENTRY.fullmatch(plain)):
        return f"body.{int(found[1]) * blocks}.in_conv.{found[2]}"
    return plain
