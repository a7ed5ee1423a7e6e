"""The keyed draws, written again from their description: Philox in plain integers, and Box and Muller's transform."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.keys import wide_key

_MASK = 2**64 - 1
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def philox(counter: Sequence[int], wide: int) -> tuple[int, int, int, int]:
    """One block of Philox4x64-10 (Salmon et al. 2011, figure 2)."""
    a, b, c, d = counter
    keys = [wide & _MASK, wide >> 64]
    for _ in range(10):
        low, high = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (high >> 64) ^ b ^ keys[0], high & _MASK, (low >> 64) ^ d ^ keys[1], low & _MASK
        keys = [(key + step) & _MASK for key, step in zip(keys, _WEYL, strict=True)]
    return a, b, c, d


def words(seed: int, purpose: str, step: int, slot: int, count: int) -> list[int]:
    """The first `count` 64-bit words of a slot."""
    wide = wide_key(seed, purpose)
    blocks = (philox((1 + block, slot, step, 0), wide) for block in range(-(-count // 4)))
    return [word for block in blocks for word in block][:count]


def normal(seed: int, purpose: str, step: int, slot: int, shape: Sequence[int]) -> Tensor:
    """Standard normal noise of one slot, in `shape`."""
    count = math.prod(shape)
    found = list(_pairs(words(seed, purpose, step, slot, -(-count // 2))))
    return torch.tensor(found, dtype=torch.float32)[:count].view(*shape)


def _pairs(found: Sequence[int]) -> Iterator[float]:
    for word in found:
        radius = math.sqrt(-2 * math.log(((word >> 32) + 0.5) / 2**32))
        angle = math.tau * (word & (2**32 - 1)) / 2**32
        yield radius * math.cos(angle)
        yield radius * math.sin(angle)
