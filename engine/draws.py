"""Every random tensor of training, keyed by (seed, purpose, step, slot) and never by what came before.

A slot is a sample's place in the whole effective batch, so splitting a batch changes no draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.keys import key, uniform


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one purpose; CPU, so that every device sees the same numbers."""
    # torch's seed is signed in places: 63 bits are enough and always accepted.
    return torch.Generator().manual_seed(key(seed, *parts) >> 1)


def normal(seed: int, purpose: str, step: int, slots: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal fp32 noise, [len(slots), *shape]."""
    out = torch.empty(len(slots), *shape)
    for row, slot in zip(out, slots, strict=True):
        row.normal_(generator=generator(seed, purpose, step, slot))
    return out


def uniforms(seed: int, purpose: str, step: int, slots: Sequence[int]) -> list[float]:
    """A number from [0, 1) for each slot."""
    return [uniform(seed, purpose, step, slot) for slot in slots]


def flags(seed: int, purpose: str, step: int, slots: Sequence[int], probability: float) -> list[bool]:
    """For each slot: did an event of this probability happen?"""
    return [draw < probability for draw in uniforms(seed, purpose, step, slots)]
