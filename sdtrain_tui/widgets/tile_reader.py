"""The pictures of tiles: which are wanted, read in a batch at a time, and a text where there is none."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

from rich.style import Style

from sdtrain_tui.widgets.cells import cut, parts_width
from sdtrain_tui.widgets.thumbs import Mode, Rows, ThumbCache, ThumbError
from sdtrain_tui.widgets.tiles import Grid

KEPT = 256


class Want(NamedTuple):
    """A picture at a size; `t` is when it was drawn, as a step may be drawn again into one file."""

    path: Path
    t: float
    width: int
    height: int
    mode: Mode


Found = dict[Want, Rows | str]
"""Pictures as cells, or the reason why there is none."""


class TileReader:
    """Remembers what was asked for and what was read. `read` is for a thread, everything else for the pane's own."""

    def __init__(self) -> None:
        self._cache = ThumbCache()
        self._ready: Found = {}
        self._wanted: list[Want] = []
        self._busy = False

    def get(self, want: Want) -> Rows | str | None:
        """The picture, or the reason why there is none; None until it was read, which is asked for by this."""
        found = self._ready.get(want)
        if found is None and want not in self._wanted:
            self._wanted.append(want)
        return found

    def batch(self) -> list[Want]:
        """What is to be read now; nothing while the batch before is under way."""
        if self._busy or not self._wanted:
            return []
        wanted, self._wanted, self._busy = self._wanted, [], True
        return wanted

    def read(self, wanted: list[Want]) -> Found:
        """Read a batch from the disk."""
        found: Found = {}
        for want in wanted:
            try:
                found[want] = self._cache.get(want.path, want.width, want.height, want.mode)
            except ThumbError as error:
                found[want] = str(error)
        return found

    def take(self, found: Found) -> None:
        """Keep what a batch gave; another one may follow."""
        self._busy = False
        if len(self._ready) > KEPT:
            self._ready.clear()
        self._ready.update(found)


def told(text: str, grid: Grid, style: Style, fill: Style, ellipsis: str) -> Rows:
    """A tile with a text instead of a picture."""
    lines = textwrap.wrap(text, grid.width)[: grid.height]
    return centred([[(cut(line, grid.width, ellipsis), style)] for line in lines], grid, fill)


def centred(rows: Rows, grid: Grid, fill: Style) -> Rows:
    """The rows in the middle of a tile, every row filled to its width; parts without a style get `fill`."""
    above = (grid.height - len(rows)) // 2
    tile: Rows = []
    for y in range(grid.height):
        parts = rows[y - above] if 0 <= y - above < len(rows) else []
        parts = [(text, style if style else fill) for text, style in parts]
        spare = grid.width - parts_width(parts)
        tile.append([(" " * (spare // 2), fill), *parts, (" " * (spare - spare // 2), fill)])
    return tile
