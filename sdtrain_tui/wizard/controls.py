"""What a person edits with: one-line inputs, choices, and a folder input that completes like a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from sdtrain_tui.widgets.cells import StyledText, clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines
from sdtrain_tui.wizard.paths import complete, is_there, unquoted

if TYPE_CHECKING:
    _Base = Widget
else:
    _Base = object  # Textual takes component classes and bindings from the first base that is a widget

FORWARD = frozenset(("tab", "enter", "down"))
BACKWARD = frozenset(("shift+tab", "up"))
PAGES = {"pagedown": 1, "pageup": -1}
"""One row has no pages of its own: these scroll what lies around it."""


class InOrder(_Base):
    """A field's own keys act at once, and keys typed ahead go to the field that they were meant for.

    Textual lets a key climb from the widget to the app before a binding acts; until then, what is typed next
    still lands in the old field. Over a slow line that would put half a word into the wrong place.
    """

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key) or not self.is_attached:
            await super().on_event(event)
            return
        focused = self.screen.focused
        if focused is not None and focused is not self:
            focused.post_message(event)
        elif event.key in FORWARD or event.key in BACKWARD:
            event.stop()
            self.leave(event.key)
        elif event.key in PAGES:
            event.stop()
            page = next(node for node in self.ancestors if isinstance(node, VerticalScroll | Screen))
            page.scroll_relative(y=PAGES[event.key] * max(1, page.size.height - 2), animate=False, force=True)
        elif own := self._bindings.key_to_bindings.get(event.key):
            event.stop()
            await self.run_action(own[0].action)
        else:
            await super().on_event(event)

    def leave(self, key: str) -> None:
        """The next field, or the one before."""
        if key in FORWARD:
            self.screen.focus_next()
        else:
            self.screen.focus_previous()


class TextInput(InOrder, Input):
    """A one-row input without blinking; Enter, Tab and Down go on, Up goes back."""

    def __init__(self, value: str = "", placeholder: str = "", *, id: str | None = None) -> None:
        super().__init__(value, placeholder, id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False


class PathInput(TextInput):
    """A path. Tab completes as in a shell, and stays where several names are possible and none is there; where nothing
    is left to complete it goes on. Quotes and escapes of a pasted path are undone when it is left."""

    class Candidates(Message):
        """What the text could become, to be shown near the input."""

        def __init__(self, names: list[str]) -> None:
            super().__init__()
            self.names = names

    def __init__(
        self, value: str = "", placeholder: str = "", *, files: tuple[str, ...] = (), id: str | None = None
    ):
        """`files` are endings of files that may be chosen too; without any only folders are."""
        super().__init__(value, placeholder, id=id)
        self._files = files

    def leave(self, key: str) -> None:
        plain = unquoted(self.value)
        if plain != self.value:
            self._put(plain)
        if key != "tab" or not self._completed():
            super().leave(key)

    def _put(self, text: str) -> None:
        self.value = text
        self.cursor_position = len(text)

    def _completed(self) -> bool:
        completed, names = complete(self.value, self._files)
        self.post_message(self.Candidates(names if len(names) > 1 else []))
        if completed == self.value:
            return len(names) > 1 and not is_there(completed)
        self._put(completed)
        return True


class Choice(InOrder, DiffedLines, can_focus=True):
    """One of a few values in one row: left and right change it, Backspace gives it back to the wizard."""

    BINDINGS = [
        Binding("right,space", "move(1)", show=False),
        Binding("left", "move(-1)", show=False),
        Binding("backspace,delete", "reset", show=False),
    ]

    class Changed(Message):
        """`value` is none when the choice was given back."""

        def __init__(self, control: Choice, value: str | None) -> None:
            super().__init__()
            self.choice = control
            self.value = value

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(
        self, values: tuple[str, ...], automatic: str, chosen: str | None = None, *, id: str | None = None
    ):
        super().__init__(id=id)
        self.values = values
        self.automatic = automatic
        self.chosen = chosen

    @property
    def value(self) -> str:
        """What counts: the choice, or else the automatic value."""
        return self.automatic if self.chosen is None else self.chosen

    def set_automatic(self, value: str) -> None:
        """Another derived value."""
        if value != self.automatic:
            self.automatic = value
            self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        palette, mark = self.palette, self.palette.accent if self.has_focus else self.palette.faint
        style = palette.quiet if self.chosen is None else palette.strong
        left, right = ("< ", " >") if self.glyphs.chart == "ascii" else ("‹ ", " ›")
        parts: list[StyledText] = [
            (left, mark),
            (clean(self.value).ljust(width - 4)[: width - 4], style),
            (right, mark),
        ]
        return [row(parts, width, palette.text)]

    def action_move(self, step: int) -> None:
        where = self.values.index(self.value) if self.value in self.values else 0
        self._set(self.values[(where + step) % len(self.values)])

    def action_reset(self) -> None:
        self._set(None)

    def on_click(self, event: events.Click) -> None:
        self.action_move(-1 if event.x < self.size.width // 2 else 1)

    def _set(self, value: str | None) -> None:
        if value != self.chosen:
            self.chosen = value
            self.redraw()
            self.post_message(self.Changed(self, value))
