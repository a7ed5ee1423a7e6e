"""Which part of a growing series a chart shows, and how many values stand in one dot column."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A part of a series: column i holds values start + i*per_column up to the next column's."""

    start: float
    per_column: float
    columns: int

    @property
    def stop(self) -> float:
        """The position just behind the last column."""
        return self.start + self.per_column * self.columns

    def column(self, index: float) -> int | None:
        """The column that a position in the series falls into; None outside."""
        column = math.floor((index - self.start) / self.per_column + 1e-9)
        return column if 0 <= column < self.columns else None


def live_window(size: int, columns: int, zoom: int) -> Window:
    """The window on a run that goes on: a power of two of values a column, so full columns never change.

    Zoom 0 shows everything in 50 to 100 % of the width. A closer one follows the end; it moves on by a
    quarter of the width at a time, because a chart that shifts with every column is sent whole every time.
    """
    per_column = 2.0 ** (math.ceil(math.log2(max(size, 2) / columns)) - zoom)
    filled = math.ceil(size / per_column)
    page = max(1, columns // 4)
    first = max(0, -(-(filled - columns) // page) * page)
    return Window(first * per_column, per_column, columns)


def whole_window(size: int, columns: int, zoom: int) -> Window:
    """The window on a run that has ended: the full width; a closer one shows the end."""
    per_column = max(size, 1) / columns / 2.0**zoom
    return Window(max(0.0, size - per_column * columns), per_column, columns)


def fixed_window(start: float, size: int, columns: int, per_column: float) -> Window:
    """A window that the user has moved: it stays inside the series and on whole columns."""
    start = max(0.0, min(start, size - per_column * columns))
    return Window(math.floor(start / per_column) * per_column, per_column, columns)
