"""Small questions and messages over a screen. Texts may come from files, so none is read as markup."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from engine.errors import UserError
from sdtrain_tui.widgets.cells import clean


def paragraphs(lines: Sequence[str]) -> Text:
    """Lines as literal text, cleaned of what could steer a terminal."""
    return Text("\n".join(clean(line) for line in lines))


class Confirm(ModalScreen[bool]):
    """Yes or no. Enter takes the focused button, y and n answer at once, Esc is no."""

    BINDINGS = [
        Binding("escape,n", "answer(False)", "No", show=False),
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[str], yes: str, no: str = "Cancel") -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Text(self._title).markup
            yield Static(paragraphs(self._lines), classes="dialog-text", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button(Text(f" {self._yes} (y) "), id="yes", compact=True)
                yield Button(Text(f" {self._no} (n) "), id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#yes", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Message(ModalScreen[None]):
    """Something to read: most of all what went wrong, why, and what to do next."""

    BINDINGS = [Binding("escape,enter,q,space", "close", "Close", show=False)]

    def __init__(self, title: str, lines: Sequence[str], *, bad: bool = False) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._bad = bad

    @classmethod
    def of(cls, error: UserError, title: str = "that did not work") -> Message:
        """The message for an error."""
        return cls(title, error.lines(), bad=True)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -bad" if self._bad else "dialog") as box:
            box.border_title = Text(self._title).markup
            yield Static(paragraphs(self._lines), classes="dialog-text", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button(" Close (Esc) ", id="close", compact=True)

    @on(Button.Pressed)
    def action_close(self) -> None:
        self.dismiss(None)


class Ask(ModalScreen[str | None]):
    """One line of text, such as a path. Esc gives none."""

    BINDINGS = [Binding("escape", "cancel", "Cancel", show=False)]

    def __init__(self, title: str, lines: Sequence[str], value: str = "") -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Text(self._title).markup
            yield Static(paragraphs(self._lines), classes="dialog-text", markup=False)
            field = Input(self._value, compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)

    def action_cancel(self) -> None:
        self.dismiss(None)
