"""The log of a run, newest line at the bottom, with scrolling and search; every text is shown literally."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from engine.run.view import LogLine
from sdtrain_tui.widgets.cells import StyledText, clean, row
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News

KEPT = 5000  # lines; the whole log stays in the run's files


class LogPane(MonitorPane):
    """Rows of a `RunView`'s log, and of the engine's own output; batches of either go in at once."""

    NAME = "log"
    TITLE = "Log"
    KEY = "l"
    SIDE = "facts"
    HELP = "arrows scroll, / search, n N next match"
    DEFAULT_CSS = """
    #facts LogPane { height: 5; }
    Screen.-normal.-tall #facts LogPane, Screen.-large.-tall #facts LogPane { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_rows(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "scroll_rows(1)", "Down", show=False, id="log.down"),
        Binding("pageup", "scroll_page(-1)", "Page up", show=False, id="log.page_up"),
        Binding("pagedown", "scroll_page(1)", "Page down", show=False, id="log.page_down"),
        Binding("home", "scroll_edge(0)", "First line", show=False, id="log.first"),
        Binding("end,G", "scroll_edge(1)", "Last line, follow", show=False, id="log.last"),
        Binding("left", "shift(-8)", "Text left", show=False, id="log.left"),
        Binding("right", "shift(8)", "Text right", show=False, id="log.right"),
        Binding("slash", "search", "Search", show=False, id="log.search"),
        Binding("n", "match(1)", "Next match", show=False, id="log.next"),
        Binding("N", "match(-1)", "Match before", show=False, id="log.previous"),
        Binding("escape", "leave", "End the search, then follow", show=False, id="log.leave"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: deque[LogLine] = deque(maxlen=KEPT)
        self._taken = 0
        self._last: LogLine | None = None
        self._top: int | None = None  # None follows the end
        self._left = 0
        self._query = ""
        self._typing = False
        self._found: int | None = None

    def show(self, news: News) -> None:
        """Add what the run's log and the engine's output have gained; a log that began anew replaces all lines."""
        log = news.view.log
        if self._taken > len(log) or (self._taken and log[self._taken - 1] != self._last):
            self._lines.clear()
            self._taken, self._top, self._found = 0, None, None
        if len(log) > self._taken:
            first = max(self._taken, len(log) - KEPT)
            fresh = log[first : len(log)]
            self._taken, self._last = len(log), fresh[-1]
            self._add(fresh)
        self._add(LogLine(0.0, "output", text) for text in news.output)
        self.redraw()

    @property
    def following(self) -> bool:
        """Whether the newest line is kept in sight."""
        return self._top is None

    @property
    def searching(self) -> bool:
        """Whether keys go into the search text."""
        return self._typing

    def _add(self, lines: Iterable[LogLine]) -> None:
        before = len(self._lines)
        added = [LogLine(line.t, line.level, clean(line.text)) for line in lines]
        self._lines.extend(added)
        fallen = before + len(added) - len(self._lines)
        if fallen and self._top is not None:
            self._top = max(0, self._top - fallen)
        if fallen and self._found is not None:
            self._found = self._found - fallen if self._found >= fallen else None

    # What is shown

    def heading(self) -> list[StyledText]:
        return [("log", self.palette.strong)]

    def heading_right(self) -> list[StyledText]:
        palette = self.palette
        if self._top is None:
            return []
        below = len(self._lines) - self._top - self.inner.height
        return [(f"{below} more below", palette.warn)] if below > 0 else []

    def footing(self) -> list[StyledText]:
        palette = self.palette
        if self._typing:
            return [("/", palette.accent), (self._query, palette.text), (" ", palette.mark)]
        if self._query:
            hits = sum(self._matches(line) for line in self._lines)
            return [(f"/{self._query}  ", palette.accent), (f"{hits} lines", palette.quiet)]
        return []

    def body(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        if not self._lines:
            return [row([("nothing yet", palette.quiet)], width, palette.text)]
        top = self._first_row(height)
        shown = list(self._lines)[top : top + height]
        return [self._row(line, width, top + i == self._found) for i, line in enumerate(shown)]

    def _first_row(self, height: int) -> int:
        last = max(0, len(self._lines) - height)
        return last if self._top is None else min(self._top, last)

    def _row(self, line: LogLine, width: int, found: bool) -> Strip:
        palette = self.palette
        style = {
            "good": palette.ok,
            "warning": palette.warn,
            "error": palette.error,
            "output": palette.quiet,
        }.get(line.level, palette.text)
        parts: list[StyledText] = []
        if width >= 40:
            stamp = time.strftime("%H:%M:%S", time.localtime(line.t)) if line.t > 0 else " " * 8
            parts.append((stamp + " ", palette.mark if found else palette.quiet))
        return row([*parts, *self._marked(line.text[self._left :], style)], width, palette.text)

    def _marked(self, text: str, style: Style) -> list[StyledText]:
        """The text with each match of the search standing out."""
        if not self._query:
            return [(text, style)]
        parts: list[StyledText] = []
        low, query = text.lower(), self._query.lower()
        place = 0
        while (hit := low.find(query, place)) >= 0 and len(low) == len(text):
            parts += [(text[place:hit], style), (text[hit : hit + len(query)], self.palette.mark)]
            place = hit + len(query)
        return [*parts, (text[place:], style)]

    def _matches(self, line: LogLine) -> bool:
        return bool(self._query) and self._query.lower() in line.text.lower()

    # What the keys do

    def action_scroll_rows(self, by: int) -> None:
        """Scroll by rows; at the end it follows again."""
        height = self.inner.height
        last = max(0, len(self._lines) - height)
        top = self._first_row(height) + by
        self._top = None if top >= last else max(0, top)
        self.redraw()

    def action_scroll_page(self, by: int) -> None:
        """Scroll by nearly a page."""
        self.action_scroll_rows(by * max(1, self.inner.height - 1))

    def action_scroll_edge(self, last: int) -> None:
        """To the first line, or to the last one and follow."""
        self._top = None if last or len(self._lines) <= self.inner.height else 0
        self.redraw()

    def action_shift(self, by: int) -> None:
        """Move long lines sideways."""
        self._left = max(0, self._left + by)
        self.redraw()

    def action_search(self) -> None:
        """Keys go into the search text until enter or escape."""
        self._typing, self._query, self._found = True, "", None
        self.redraw()

    def action_match(self, by: int) -> None:
        """To the next matching line below or above, round the end."""
        hits = [i for i, line in enumerate(self._lines) if self._matches(line)]
        if not hits:
            self.redraw()
            return
        height = self.inner.height
        if self._found is None:
            place = hits[-1]
        elif by > 0:
            place = next((i for i in hits if i > (self._found or 0)), hits[0])
        else:
            place = next((i for i in reversed(hits) if i < (self._found or 0)), hits[-1])
        self._found = place
        if not self._first_row(height) <= place < self._first_row(height) + height:
            self._top = max(0, min(place - height // 2, len(self._lines) - height))
        self.redraw()

    def action_leave(self) -> None:
        """End the search; without one, follow the end again."""
        if self._query or self._typing:
            self._query, self._typing, self._found = "", False, None
        else:
            self._top, self._left = None, 0
        self.redraw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to the screen when there is nothing to step out of."""
        return action != "leave" or bool(self._query or self._typing or self._top is not None or self._left)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """While a search is typed, letters are text and no bindings."""
        return self._typing and character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        """Edit the search text."""
        if not self._typing:
            return
        if event.key == "enter":
            self._typing = False
            self.action_match(-1)
        elif event.key == "backspace":
            self._query = self._query[:-1]
        elif event.is_printable and event.character:
            self._query += clean(event.character)
        else:
            return
        event.stop()
        event.prevent_default()
        self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text goes into the search."""
        if self._typing:
            event.stop()
            self._query += clean(event.text)[:200]
            self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll up."""
        event.stop()
        self.action_scroll_rows(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll down."""
        event.stop()
        self.action_scroll_rows(3)
