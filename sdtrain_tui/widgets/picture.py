"""One picture in terminal cells, read beside the screen."""

from __future__ import annotations

from pathlib import Path

from textual.strip import Strip

from sdtrain_tui.background import in_background
from sdtrain_tui.widgets.cells import cut, row
from sdtrain_tui.widgets.diff_lines import DiffedLines
from sdtrain_tui.widgets.thumbs import Mode, Rows, ThumbCache, ThumbError, mode_for

Seen = tuple[Path, int, int]


class PicturePane(DiffedLines):
    """Shows the picture that `show` names, as large as fits; why there is none where it cannot be shown."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._cache = ThumbCache(32)
        self._path: Path | None = None
        self._found: tuple[Seen, Rows | str] | None = None
        self._asked: Seen | None = None

    def show(self, path: Path | None) -> None:
        """Another picture; none for one that lies in no file of its own."""
        self._path = path
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        if self._path is None:
            return self._filled([row([("(in a shard)", palette.quiet)], width, palette.text)], width, height)
        want = (self._path, width, height)
        if self._found is None or self._found[0] != want:
            self._ask(want)
            return self._filled([], width, height)
        found = self._found[1]
        if isinstance(found, str):
            return self._filled(
                [row([(cut(found, width), palette.quiet)], width, palette.text)], width, height
            )
        return self._filled([row(parts, width, palette.text) for parts in found], width, height)

    def _filled(self, rows: list[Strip], width: int, height: int) -> list[Strip]:
        return rows + [row([], width, self.palette.text)] * (height - len(rows))

    def _ask(self, want: Seen) -> None:
        if self._asked == want:
            return
        self._asked = want
        mode = mode_for(self.app)
        in_background(self, lambda: self._read(want, mode), self._take)

    def _read(self, want: Seen, mode: Mode) -> tuple[Seen, Rows | str]:
        try:
            return want, self._cache.get(*want, mode)
        except ThumbError as error:
            return want, str(error)

    def _take(self, found: tuple[Seen, Rows | str]) -> None:
        if found[0] == self._asked:
            self._found = found
            self.redraw()
