"""The list of runs: one row a run, of which only changed cells are ever sent again."""

from __future__ import annotations

import math
import time

from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip

from engine.run.listing import RunSummary
from sdtrain_tui.widgets.cells import StyledText, clean, cut, row
from sdtrain_tui.widgets.diff_lines import Pane
from sdtrain_tui.widgets.meters import bar
from sdtrain_tui.widgets.numbers import count, short

LIVE = frozenset({"running", "preparing", "paused", "stalled"})
STATE_ROLE = {
    "running": "ok",
    "preparing": "accent",
    "paused": "warn",
    "stalled": "warn",
    "finished": "quiet",
    "stopped": "quiet",
    "queued": "quiet",
}


def ago(seconds: float) -> str:
    """How long ago in at most 6 characters; whole minutes, so that a quiet row stays as it is."""
    if seconds < 60:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now"


class RunTable(Pane):
    """Runs, newest first, with a cursor; the cursor stays on its run when the order changes."""

    BINDINGS = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
        Binding("enter", "take", show=False),
    ]

    class Moved(Message):
        """The cursor is on another run."""

    class Taken(Message):
        """Enter, or a click on the run under the cursor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: list[RunSummary] = []
        self._cursor = 0
        self._top = 0

    @property
    def current(self) -> RunSummary | None:
        """The run under the cursor."""
        return self._runs[self._cursor] if self._runs else None

    def show(self, runs: list[RunSummary]) -> None:
        """The runs as they are now."""
        held = self.current
        self._runs = runs
        paths = [run.path for run in runs]
        if held is not None and held.path in paths:
            self._cursor = paths.index(held.path)
        self._cursor = max(0, min(self._cursor, len(runs) - 1))
        self.redraw()

    def heading(self) -> list[StyledText]:
        return [("sdtrain", self.palette.accent), ("  runs", self.palette.strong)]

    def heading_right(self) -> list[StyledText]:
        if not self._runs:
            return []
        live = sum(run.state in LIVE for run in self._runs)
        return [(f"{len(self._runs)}{f', {live} live' if live else ''}", self.palette.quiet)]

    def body(self, width: int, height: int) -> list[Strip]:
        if self._cursor < self._top:
            self._top = self._cursor
        elif self._cursor >= self._top + height - 1:
            self._top = self._cursor - max(1, height - 1) + 1
        rows = [self._titles(width)]
        now = time.time()
        for place in range(self._top, min(len(self._runs), self._top + height - 1)):
            rows.append(self._row(self._runs[place], width, now, place == self._cursor))
        return rows

    def _columns(self, width: int) -> tuple[int, int, int]:
        """Widths of name, method and bar for a row of `width` cells."""
        method = 18 if width >= 96 else 0
        meter = 20 if width >= 116 else 10
        return max(8, width - 18 - method - meter - 15 - 9 - 9), method, meter

    def _titles(self, width: int) -> Strip:
        name, method, meter = self._columns(width)
        text = (
            f"    {'state':<14}{'name':<{name}}{'method':<{method}}"
            if method
            else f"    {'state':<14}{'name':<{name}}"
        )
        text += f"{'':<{meter + 1}}{'step':>13} {'loss':>8} {'active':>8}"
        return row([(text, self.palette.faint)], width, self.palette.text)

    def _row(self, run: RunSummary, width: int, now: float, here: bool) -> Strip:
        palette = self.palette
        name_width, method_width, meter = self._columns(width)
        state: Style = getattr(palette, STATE_ROLE.get(run.state, "error"))
        total = run.total or 0
        steps = f"{count(run.step)}/{count(total)}" if total else "-"
        loss = "" if run.loss is None else short(run.loss) if math.isfinite(run.loss) else "nan"
        cursor = "▸" if here and self.glyphs.chart != "ascii" else ">" if here else " "
        name_style = palette.strong if here else palette.text
        parts: list[StyledText] = [
            (f"{cursor} ", palette.accent),
            (f"{self.glyphs.badge.get(run.state, '?')} ", state),
            (f"{run.state:<14}", state),
            (cut(clean(run.name), name_width - 1).ljust(name_width), name_style),
            (
                f"{cut(clean(run.method), method_width - 1):<{method_width}}" if method_width else "",
                palette.quiet,
            ),
            *bar(run.step / total if total else 0, meter, self.glyphs, state, palette.faint),
            (f"{steps:>14}", palette.text),
            (f"{loss:>9}", palette.text),
            (f"{ago(now - run.updated) if run.updated else '':>9}", palette.quiet),
        ]
        return row(parts, width, palette.text)

    def action_move(self, by: int) -> None:
        new = max(0, min(self._cursor + by, len(self._runs) - 1))
        if new != self._cursor:
            self._cursor = new
            self.redraw()
            self.post_message(self.Moved())

    def action_take(self) -> None:
        if self.current is not None:
            self.post_message(self.Taken())

    def on_click(self, event: events.Click) -> None:
        place = self._top + event.y - 2
        if 0 <= place < len(self._runs):
            if place == self._cursor:
                self.action_take()
            else:
                self.action_move(place - self._cursor)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)
