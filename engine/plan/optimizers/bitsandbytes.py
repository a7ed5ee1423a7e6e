"""What the 8-bit optimisers of bitsandbytes share (Dettmers et al., arXiv:2110.02861): blocks of 256 numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from engine.plan.optimizers.base import Shape

PACKAGE = "bitsandbytes"
REQUIREMENT = "bitsandbytes>=0.50,<0.51"
SMALLEST, BLOCK = 4096, 256


def blockwise(moments: int) -> Callable[[Shape], int]:
    """State of `moments` bytes a number, with a scale a block and a table of 256 values for each moment; parameters of
    less than 4096 numbers keep theirs in 32 bit."""

    def state_bytes(shape: Shape) -> int:
        numbers = prod(shape)
        if numbers < SMALLEST:
            return 4 * moments * numbers
        return moments * (numbers + 4 * -(-numbers // BLOCK) + 4 * 256)

    return state_bytes
