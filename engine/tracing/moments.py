"""Which moments of a step can be its peak, out of all that were counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from engine.cost.quantity import Powers, Quantity, Scale
from engine.cost.traced_step import GRADIENTS, Moment
from engine.tracing.counting import Event

SCALES = tuple(
    Scale(batch, (side / 8) ** 2, rank)
    for batch, side, rank in product(
        (1, 2, 4, 8, 16, 64), (64, 256, 512, 768, 1024, 1536, 2048), (1, 8, 32, 128, 512)
    )
)
Column = tuple[str, Powers]


def peaks(events: Sequence[Event], forward: int) -> list[Moment]:
    """The moments of which one is the peak at each of many scales, with gradients and without; the first
    `forward` events are the forward pass."""
    columns: dict[Column, int] = {}
    for kind, powers, _ in events:
        columns.setdefault((kind, powers), len(columns))
    live = np.zeros((len(events), len(columns)))
    for at, (kind, powers, size) in enumerate(events):
        live[at, columns[kind, powers]] = size
    live = live.cumsum(axis=0)
    found = set()
    for without in (frozenset[str](), frozenset({GRADIENTS})):
        weights = np.array(
            [[0.0 if kind in without else scale.of(powers) for scale in SCALES] for kind, powers in columns]
        )
        found |= set((live @ weights).argmax(axis=0).tolist())
    return [_moment(live[at], columns, "forward" if at < forward else "backward") for at in sorted(found)]


def _moment(row: npt.NDArray[np.float64], columns: dict[Column, int], phase: str) -> Moment:
    kinds: dict[str, dict[Powers, float]] = {}
    for (kind, powers), column in columns.items():
        if row[column] > 0:
            kinds.setdefault(kind, {})[powers] = float(row[column])
    return Moment(phase, {kind: Quantity(terms) for kind, terms in kinds.items()})
