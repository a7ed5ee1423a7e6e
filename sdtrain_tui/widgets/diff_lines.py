"""The base of every live pane: it keeps its rows and repaints only the cells that changed."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from sdtrain_tui.palette import Palette, palette_of
from sdtrain_tui.widgets.cells import StyledText, changed_spans, cut_parts, parts_width, row
from sdtrain_tui.widgets.glyphs import Glyphs, glyphs_of


class DiffedLines(Widget):
    """A widget of fixed rows that marks only changed spans; Textual resends every cell of a dirty widget.

    A subclass gives `lines`; whoever has news for it calls `redraw`. Nothing here ever asks for a layout, and
    an unchanged row costs no bytes.
    """

    DEFAULT_CSS = """
    DiffedLines { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Strip] = []
        self._drawn_at: Size | None = None

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rows to show, at most `height` of them, each of exactly `width` cells."""
        return []

    @property
    def palette(self) -> Palette:
        """Styles of the current theme over this widget's background."""
        return palette_of(self)

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return glyphs_of(self.app)

    def redraw(self) -> None:
        """Compute the rows again and repaint the spans that differ from what is shown."""
        if not self.is_mounted or not self.size:
            self._drawn_at = None
            return
        if self._drawn_at != self.size:
            self.refresh()
            return
        old = self._rows
        self._compute()
        regions = [
            Region(start, y, end - start, 1)
            for y, (before, after) in enumerate(zip(old, self._rows, strict=True))
            for start, end in changed_spans(before, after)
        ]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """The stored row; a new size computes the rows once, however many resize events came."""
        if self._drawn_at != self.size:
            self._compute()
        if y < len(self._rows):
            return self._rows[y]
        return Strip.blank(self.size.width, self.palette.text)

    def notify_style_update(self) -> None:
        """A new theme or focus style: the stored rows hold old colours."""
        super().notify_style_update()
        self._drawn_at = None

    def on_show(self) -> None:
        """News that came while it was hidden was computed for nobody: draw it now."""
        self._drawn_at = None
        self.refresh()

    def watch_has_focus(self, has_focus: bool) -> None:
        """Show the focus in the pane's frame."""
        super().watch_has_focus(has_focus)
        self.redraw()

    def _compute(self) -> None:
        width, height = self.size
        fill = self.palette.text
        rows = self.lines(width, height)[:height]
        if self.glyphs.chart == "ascii":
            rows = [_without_ellipsis(line) for line in rows]
        fitted = [line.adjust_cell_length(width, fill) for line in rows]
        fitted.extend([Strip.blank(width, fill)] * (height - len(fitted)))
        self._rows = fitted
        self._drawn_at = self.size


def _without_ellipsis(line: Strip) -> Strip:
    """The row with the one drawing character of cut texts that is not ASCII replaced."""
    return Strip([Segment(part.text.replace("…", "~"), part.style) for part in line], line.cell_length)


class Pane(DiffedLines, can_focus=True):
    """A framed live pane: a title line with live values, the body, and a foot line that may hold a read-out.

    The frame is drawn as rows and not by CSS, so that values in the title are diffed like the rest: a changed
    `border_title` would repaint the whole widget.
    """

    def heading(self) -> list[StyledText]:
        """What stands at the left of the top line."""
        return []

    def heading_right(self) -> list[StyledText]:
        """What stands at the right of the top line; dropped where it does not fit."""
        return []

    def footing(self) -> list[StyledText]:
        """What stands at the right of the bottom line."""
        return []

    def body(self, width: int, height: int) -> list[Strip]:
        """The rows inside the frame."""
        return []

    @property
    def framed(self) -> bool:
        """Whether there is room for a frame."""
        return self.size.height >= 3 and self.size.width >= 12

    @property
    def inner(self) -> Size:
        """Cells inside the frame and its one-cell side padding."""
        width, height = self.size
        return Size(max(0, width - 4), max(0, height - 2)) if self.framed else Size(width, height)

    def lines(self, width: int, height: int) -> list[Strip]:
        """The frame with the body in it."""
        if not self.framed:
            return self.body(width, height)
        palette, glyphs = self.palette, self.glyphs
        edge = palette.focus if self.has_focus else palette.faint
        inner_width, inner_height = self.inner
        rows = self.body(inner_width, inner_height)[:inner_height]
        blank = Strip.blank(inner_width, palette.text)
        rows.extend([blank] * (inner_height - len(rows)))
        left = Strip.join([Strip(row([(glyphs.vertical, edge), (" ", palette.text)], 2, palette.text), 2)])
        right = Strip(row([(" ", palette.text), (glyphs.vertical, edge)], 2, palette.text), 2)
        top = self._edge(width, edge, glyphs.corners[:2], self.heading(), self.heading_right())
        bottom = self._edge(width, edge, glyphs.corners[2:], [], self.footing())
        middle = [
            Strip.join([left, line.adjust_cell_length(inner_width, palette.text), right]) for line in rows
        ]
        return [top, *middle, bottom]

    def _edge(
        self, width: int, edge: Style, corners: str, left: list[StyledText], right: list[StyledText]
    ) -> Strip:
        """A horizontal edge with texts set into it."""
        line, space = self.glyphs.horizontal, (" ", edge)
        room = width - 6
        left = cut_parts(left, room - 2, self.glyphs.ellipsis)
        used = parts_width(left) + 2 if left else 0
        if not right or parts_width(right) + 2 > room - used:
            right = []
        tail = [space, *right, space] if right else []
        start: list[StyledText] = [(corners[0] + line, edge), *([space, *left, space] if left else [])]
        end: list[StyledText] = [*tail, (line + corners[1], edge)]
        gap = width - parts_width(start) - parts_width(end)
        return row([*start, (line * max(0, gap), edge), *end], width, edge)
