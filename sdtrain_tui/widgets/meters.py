"""Bars and sparklines as parts of a row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.style import Style

from sdtrain_tui.widgets.cells import StyledText
from sdtrain_tui.widgets.glyphs import Glyphs


def bar(share: float | None, width: int, glyphs: Glyphs, full: Style, empty: Style) -> list[StyledText]:
    """A bar of `width` cells filled to `share` (0 to 1) in half cells; empty where the share is unknown."""
    if width <= 0:
        return []
    halves = 0 if share is None else round(max(0.0, min(1.0, share)) * width * 2)
    if share and halves == 0:
        halves = 1
    text = glyphs.bar_full * (halves // 2) + glyphs.bar_half * (halves % 2)
    return [(text, full), (glyphs.bar_empty * (width - len(text)), empty)]


def spark(
    values: Sequence[float | None], width: int, glyphs: Glyphs, style: Style, top: float
) -> list[StyledText]:
    """The last `width` values as columns from 0 to `top`, newest at the right; an unknown one is a blank."""
    if width <= 0:
        return []
    steps = glyphs.spark
    recent = list(values)[-width:]
    chars = [
        " "
        if value is None or not math.isfinite(value)
        else steps[max(0, min(len(steps) - 1, int(value / top * len(steps))))]
        for value in recent
    ]
    return [(" " * (width - len(chars)) + "".join(chars), style)]
