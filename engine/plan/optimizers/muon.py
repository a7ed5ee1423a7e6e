"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for matrices, AdamW for all other shapes.

The step of a matrix has the root mean square of AdamW's (Liu et al., arXiv:2502.16982), so both take one rate.
"""

from __future__ import annotations

from math import prod

from engine.plan.optimizers.base import OptimizerSpec, Shape


def state_bytes(shape: Shape) -> int:
    """One moment for a matrix, two for what has another shape."""
    return (4 if len(shape) == 2 else 8) * prod(shape)


SPEC = OptimizerSpec(
    name="muon",
    title="Muon",
    help="orthogonal steps for matrices, AdamW for the rest",
    builder="engine.train.optimizers.muon",
    state_bytes=state_bytes,
)
