"""Gradient checkpointing of some of a denoiser's blocks: those first whose activations are largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import nn


def outermost_first(count: int) -> list[int]:
    """The numbers of `count` blocks, the ends before the middle, and of both ends the later one: a denoiser works
    at its highest resolution there."""
    middle = (count - 1) / 2
    return sorted(range(count), key=lambda at: (-abs(at - middle), -at))


def blocks_of(denoiser: nn.Module) -> Sequence[nn.Module]:
    """The largest modules in it that know gradient checkpointing, in the order of the forward pass."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in denoiser.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer, _ in found)
        if path and not inside and hasattr(module, "gradient_checkpointing"):
            found.append((path, module))
    # diffusers' UNet names its middle after its decoder.
    order = {"down": 0, "mid": 1, "up": 2}
    return [module for _, module in sorted(found, key=lambda item: order.get(item[0].partition("_")[0], 0))]


def keep_checkpointed(denoiser: nn.Module, count: int) -> None:
    """Of a denoiser whose blocks are all checkpointed, leave `count` so."""
    blocks = blocks_of(denoiser)
    for at in outermost_first(len(blocks))[count:]:
        for module in blocks[at].modules():
            if hasattr(module, "gradient_checkpointing"):
                cast(Any, module).gradient_checkpointing = False
