"""The fields of a page that few need, behind one button; they are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button

if TYPE_CHECKING:
    from sdtrain_tui.wizard.field_row import FieldRow


class MoreFields(Vertical):
    """A button, and below it a row for each of the fields that `fields` gives then, as `rows` makes them."""

    class Toggled(Message):
        """The rows were opened or closed."""

    def __init__(
        self,
        fields: Callable[[], list[str]],
        rows: Callable[[list[str]], Iterable[FieldRow]],
        *,
        id: str,
        name: str = "",
        beside: Sequence[Button] = (),
    ) -> None:
        """With `name` the button is called by it; `beside` are other buttons in its row."""
        super().__init__(id=id, classes="more-fields")
        self.fields = fields
        self._rows = rows
        self.shown = False
        self._beside = beside
        self._labels = (f"+ {name}", f"- {name}") if name else ("+ all fields", "- fewer fields")

    def compose(self) -> ComposeResult:
        with Horizontal(classes="more-buttons"):
            yield Button(self._labels[0], compact=True, classes="more-toggle")
            yield from self._beside
        box = Vertical(classes="all-fields")
        box.display = False
        yield box

    @on(Button.Pressed, ".more-toggle")
    async def _toggle(self, event: Button.Pressed) -> None:
        event.stop()
        await self.open(not self.shown)

    async def open(self, shown: bool = True) -> None:
        """Show the rows, or hide them."""
        box = self.query_one(".all-fields", Vertical)
        if shown and not box.children:
            await box.mount(*self._rows(self.fields()))
        box.display = self.shown = shown
        self.query_one(".more-toggle", Button).label = self._labels[shown]
        self.post_message(self.Toggled())
