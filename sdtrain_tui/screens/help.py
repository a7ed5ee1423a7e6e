"""Help: the keys of the screen below, and the few things worth knowing there."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from sdtrain_tui.screens.help_texts import EVERYWHERE, HelpPart


class HelpScreen(ModalScreen[None]):
    """A page of keys and words; a screen offers its own through the attribute HELP_PARTS."""

    BINDINGS = [Binding("escape,q,question_mark,f1,enter", "close", "Close", show=False)]

    def __init__(self, parts: tuple[HelpPart, ...]) -> None:
        super().__init__()
        self._parts = parts

    @classmethod
    def for_screen(cls, screen: Screen[Any]) -> HelpScreen:
        """The help of a screen."""
        own: tuple[HelpPart, ...] = getattr(screen, "HELP_PARTS", ())
        return cls((*own, ("everywhere", EVERYWHERE)))

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as box:
            box.border_title = "help"
            box.border_subtitle = "Esc closes"
            for title, rows in self._parts:
                yield Static(Text(title), classes="help-title", markup=False)
                yield Static(_table(rows), classes="help-rows", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        self.dismiss(None)


def _table(rows: tuple[tuple[str, str], ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, width=16, style="bold")
    table.add_column()
    for key, meaning in rows:
        table.add_row(Text(key), Text(meaning))
    return table
