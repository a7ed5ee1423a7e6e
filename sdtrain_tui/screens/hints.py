"""The bottom line: which keys do something now; each hint can be clicked too."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.strip import Strip
from textual.timer import Timer

from sdtrain_tui.widgets.cells import StyledText, clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines


class Hint(NamedTuple):
    """A key as printed, what it does in a word or two, and the screen's action."""

    key: str
    label: str
    action: str


class Hints(DiffedLines):
    """One row of hints; those that do not fit are left out, the last one (help) always stays."""

    DEFAULT_CSS = "Hints { height: 1; width: 1fr; dock: bottom; padding: 0 1; }"

    def __init__(self, hints: list[Hint] | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hints = hints or []
        self._spots: list[tuple[int, int, str]] = []
        self._said = ""
        self._until: Timer | None = None

    def say(self, text: str, seconds: float = 4.0) -> None:
        """Something short in place of the hints for a moment."""
        self._said = text
        if self._until is not None:
            self._until.stop()
        self._until = self.set_timer(seconds, self._be_quiet)
        self.redraw()

    def _be_quiet(self) -> None:
        self._said = ""
        self.redraw()

    def show(self, hints: list[Hint]) -> None:
        """Another set of hints."""
        if hints != self._hints:
            self._hints = hints
            self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        if self._said:
            self._spots = []
            return [row([(clean(self._said), palette.accent)], width, palette.text)]
        gap = 2 if sum(_width(hint) + 2 for hint in self._hints) - 2 <= width else 1
        parts: list[StyledText] = []
        self._spots = []
        x = 0
        for hint in _fitting(self._hints, width, gap):
            if parts:
                parts.append((" " * gap, palette.text))
                x += gap
            parts += [(hint.key, palette.accent), (f" {hint.label}", palette.quiet)]
            self._spots.append((x, x + _width(hint), hint.action))
            x += _width(hint)
        return [row(parts, width, palette.text)]

    async def on_click(self, event: events.Click) -> None:
        inside = event.get_content_offset(self)
        if inside is None:
            return
        for start, end, action in self._spots:
            if start <= inside.x < end:
                await self.screen.run_action(action)


def _width(hint: Hint) -> int:
    return cell_len(hint.key) + 1 + cell_len(hint.label)


def _fitting(hints: list[Hint], width: int, gap: int) -> list[Hint]:
    kept = list(hints)
    while len(kept) > 2 and sum(_width(hint) + gap for hint in kept) - gap > width:
        kept.pop(-2)
    return kept
