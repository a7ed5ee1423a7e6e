"""Finding a field of the plan by its name, its key or its explanation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from engine.plan.fields import PlanField
from sdtrain_tui.widgets.cells import clean, cut

KEY_WIDTH = 34


class FieldSearch(ModalScreen[str]):
    """A line to type in and the fields that have every word of it; Enter gives the key of the one in front."""

    BINDINGS = [
        Binding("escape", "close", "Close", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
    ]

    def __init__(self, fields: Sequence[PlanField]) -> None:
        super().__init__()
        self._fields = fields

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="field-search") as box:
            box.border_title = "find a field"
            line = Input(placeholder="words of its name, key or explanation", compact=True)
            line.cursor_blink = False
            yield line
            listed = OptionList(compact=True)
            listed.can_focus = False
            yield listed

    def on_mount(self) -> None:
        self._show(found(self._fields, ""))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._show(found(self._fields, event.value))

    def _show(self, fields: Sequence[PlanField]) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(_line(field), id=field.key) for field in fields)
        options.highlighted = 0 if fields else None

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            options.highlighted = ((options.highlighted or 0) + by) % options.option_count

    @on(Input.Submitted)
    def _take(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None and option.id is not None:
            self.dismiss(option.id)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_close(self) -> None:
        self.dismiss(None)


def found(fields: Sequence[PlanField], text: str) -> list[PlanField]:
    """The fields that have every word: of that very name first, then by their keys, then by their explanations."""
    words = text.lower().replace(".", " ").split()
    ranked = [(rank, field) for field in fields if (rank := _rank(field, words)) is not None]
    return [field for _, field in sorted(ranked, key=lambda each: each[0])]


def _rank(field: PlanField, words: list[str]) -> int | None:
    key = field.key.lower().replace(".", " ")
    name = key.rpartition(" ")[2].replace("_", " ")
    if " ".join(words) in (name, key):
        return 0
    named = f"{key} {key.replace('_', ' ')}"
    if all(word in named for word in words):
        return 1
    return 2 if all(word in f"{named} {field.help.lower()}" for word in words) else None


def _line(field: PlanField) -> Text:
    return Text.assemble(cut(field.key, KEY_WIDTH).ljust(KEY_WIDTH + 1), (clean(field.help), "dim"))
