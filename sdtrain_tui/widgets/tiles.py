"""Which previews stand where: rows are prompts, columns are steps from the first one to the chosen one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.run.view import PreviewInfo

GAP = 1
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Grid:
    """A layout of equal tiles; `width` and `height` are those of a picture, a caption row stands below each."""

    rows: int
    columns: int
    width: int
    height: int


def best_grid(width: int, height: int, prompts: int, steps: int, least_columns: int) -> Grid | None:
    """The grid of square tiles (twice as many columns as rows of cells) that shows most; None without room.

    Larger tiles beat more tiles: a grid's worth is its tile's area times the root of how many there are.
    """
    best: tuple[float, Grid] | None = None
    for rows in range(1, max(1, prompts) + 1):
        for columns in range(min(least_columns, max(1, steps)), min(MOST_COLUMNS, max(1, steps)) + 1):
            high = height // rows - 1
            wide = min((width - GAP * (columns - 1)) // columns, 2 * high)
            wide -= wide % 2
            high = min(high, wide // 2)
            if high < 2:
                continue
            worth = wide * high * math.sqrt(rows * columns)
            if best is None or worth > best[0]:
                best = (worth, Grid(rows, columns, wide, high))
    return None if best is None else best[1]


class PreviewBook:
    """The previews of a run by prompt and step; the last one of a position counts."""

    def __init__(self, previews: Iterable[PreviewInfo] = ()) -> None:
        self._by_position = {(preview.index, preview.step): preview for preview in previews}
        self.prompts = sorted({index for index, _ in self._by_position})
        self.steps = sorted({step for _, step in self._by_position})

    def at(self, index: int, step: int) -> PreviewInfo | None:
        """The preview of a prompt at a step."""
        return self._by_position.get((index, step))

    def prompt(self, index: int) -> str:
        """The newest text of a prompt."""
        for step in reversed(self.steps):
            preview = self.at(index, step)
            if preview is not None and preview.prompt:
                return preview.prompt
        return ""


def steps_shown(steps: Sequence[int], chosen: int, columns: int) -> list[int]:
    """The steps of the columns: the first one of all, then the last ones up to the chosen one."""
    until = [step for step in steps if step <= chosen] or list(steps[:1])
    if len(until) <= columns:
        return until
    return until[-1:] if columns == 1 else [until[0], *until[-(columns - 1) :]]
