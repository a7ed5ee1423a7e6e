"""The wizard's frame: the bar of steps, and the lines that explain the field in focus."""

from __future__ import annotations

import textwrap
from typing import Literal

from textual import events
from textual.message import Message
from textual.strip import Strip

from sdtrain_tui.widgets.cells import StyledText, clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines

Mark = Literal["open", "done", "warning", "error"]
MARKS: dict[Mark, str] = {"open": "○", "done": "✓", "warning": "!", "error": "✗"}
ASCII_MARKS: dict[Mark, str] = {"open": ".", "done": "+", "warning": "!", "error": "x"}


class StepBar(DiffedLines):
    """All steps in one row; the current one stands out, and a step with problems says so."""

    DEFAULT_CSS = "StepBar { height: 1; width: 1fr; }"

    class Chosen(Message):
        """A step was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self._marks: list[Mark] = ["open"] * len(names)
        self._current = 0
        self._spots: list[tuple[int, int]] = []

    def show(self, current: int, marks: list[Mark]) -> None:
        """The step in front, and how each step stands."""
        self._current, self._marks = current, marks
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        ascii_only = self.glyphs.chart == "ascii"
        marks, here_sign = (ASCII_MARKS, "*") if ascii_only else (MARKS, "●")
        gap = 3 if width >= 100 else 2
        styles = {"open": palette.faint, "done": palette.ok, "warning": palette.warn, "error": palette.error}
        parts: list[StyledText] = [(" ", palette.text)]
        self._spots = []
        x = 1
        for index, (name, mark) in enumerate(zip(self._names, self._marks, strict=True)):
            here = index == self._current
            sign = here_sign if here and mark in ("open", "done") else marks[mark]
            parts.append((sign, palette.accent if here and mark in ("open", "done") else styles[mark]))
            parts.append((f" {name}", palette.strong if here else palette.quiet))
            parts.append((" " * gap, palette.text))
            self._spots.append((x, x + 2 + len(name)))
            x += 2 + len(name) + gap
        return [row(parts, width, palette.text)]

    def on_click(self, event: events.Click) -> None:
        for index, (start, end) in enumerate(self._spots):
            if start <= event.x < end:
                self.post_message(self.Chosen(index))


class Explanation(DiffedLines):
    """What the field in focus means, its bounds, and why it has the value it has."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._texts: list[tuple[str, str]] = []

    def show(self, texts: list[tuple[str, str]]) -> None:
        """Paragraphs as (role of the palette, text)."""
        if texts != self._texts:
            self._texts = texts
            self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        roomy = height >= 8
        rows: list[Strip] = []
        for role, text in self._texts:
            style = getattr(palette, role)
            for line in textwrap.wrap(clean(text), max(10, width)) or [""]:
                rows.append(row([(line, style)], width, palette.text))
            if roomy:
                rows.append(Strip.blank(width, palette.text))
        return rows
