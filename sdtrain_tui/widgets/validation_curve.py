"""The losses of held-out pictures as a curve over the positions of a run's updates."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from engine.run.view import ValidationInfo
from sdtrain_tui.widgets.chart import Extremes
from sdtrain_tui.widgets.window import Window


def columns(
    validations: Sequence[ValidationInfo], index_of: Callable[[int], int | None], window: Window
) -> list[Extremes]:
    """The value range of each column: straight lines between validations, nothing before the first and behind the
    last. `index_of` gives the position of an update."""
    finite = [each for each in validations if math.isfinite(each.loss)]
    places = [float(index_of(each.step) or 0) for each in finite]
    losses = [each.loss for each in finite]
    return [
        _between(places, losses, window.start + at * window.per_column, window.per_column)
        for at in range(window.columns)
    ]


def latest(validations: Sequence[ValidationInfo], step: int) -> ValidationInfo | None:
    """The last validation at this step or before it that has a loss."""
    return next(
        (each for each in reversed(validations) if each.step <= step and math.isfinite(each.loss)), None
    )


def _between(places: list[float], losses: list[float], start: float, reach: float) -> Extremes:
    inside = losses[bisect_left(places, start) : bisect_left(places, start + reach)]
    after = bisect_right(places, start)
    if 0 < after < len(places):
        first, second = places[after - 1], places[after]
        share = (start - first) / (second - first)
        inside.append(losses[after - 1] + share * (losses[after] - losses[after - 1]))
    return (min(inside), max(inside)) if inside else None
