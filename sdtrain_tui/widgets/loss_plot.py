"""The loss chart around its curves: value labels, the crosshair, and the axis of steps with its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.strip import Strip

from sdtrain_tui.palette import Palette
from sdtrain_tui.widgets.cells import StyledText, row
from sdtrain_tui.widgets.chart import Canvas, Scale, round_ticks, step_label, value_ticks
from sdtrain_tui.widgets.glyphs import Glyphs
from sdtrain_tui.widgets.window import Window

LABEL = 6  # cells for the labels of the value axis


@dataclass(frozen=True)
class LossPlot:
    """A drawn canvas and the window of updates on it; `width` counts the labels too."""

    canvas: Canvas
    window: Window
    width: int
    palette: Palette
    glyphs: Glyphs

    def rows(self, scale: Scale | None, cross: int | None) -> list[Strip]:
        """The canvas with value labels at its left; `cross` is the position of the update under the crosshair."""
        palette, glyphs, canvas = self.palette, self.glyphs, self.canvas
        ticks = value_ticks(scale, max(2, canvas.height // 4)) if scale else []
        labels = {canvas.height - 1 - round(place * (canvas.height - 1)): text for place, text in ticks}
        column = None if cross is None else self.window.column(cross)
        cell = None if column is None else column // canvas.across
        line: StyledText = (glyphs.crosshair, palette.accent)
        rows = []
        for y in range(canvas.height):
            label = labels.get(y)
            edge = glyphs.vertical if label is None else glyphs.tick
            parts: list[StyledText] = [
                (f"{label or '':>{LABEL}}", palette.quiet),
                (edge, palette.faint),
                *canvas.row(y, [palette.ghost, palette.line, palette.ok], palette.text, cell, line),
            ]
            rows.append(row(parts, self.width, palette.text))
        return rows

    def step_axis(self, step_at: Callable[[float], float], saved: Sequence[int | None]) -> Strip:
        """The bottom row: a line with round step numbers right of their ticks, a mark for each checkpoint.

        `step_at` tells the step number at a position, `saved` are the positions of checkpoints.
        """
        palette, glyphs, canvas = self.palette, self.glyphs, self.canvas
        cells: list[StyledText] = [(glyphs.horizontal, palette.faint)] * canvas.width
        first, last = step_at(self.window.start), step_at(self.window.stop)
        for tick in round_ticks(first, last, max(2, canvas.width // 14)):
            text = step_label(tick)
            at = int((tick - first) / (last - first) * canvas.width)
            if tick == int(tick) and at + 1 + len(text) <= canvas.width:
                cells[at] = (glyphs.step_tick, palette.faint)
                cells[at + 1 : at + 1 + len(text)] = [(char, palette.quiet) for char in text]
        for index in saved:
            column = None if index is None else self.window.column(index)
            if column is not None and cells[column // canvas.across][1] is palette.faint:
                cells[column // canvas.across] = (glyphs.checkpoint, palette.ok)
        start: list[StyledText] = [(" " * LABEL, palette.text), (glyphs.origin, palette.faint)]
        return row([*start, *cells], self.width, palette.text)
