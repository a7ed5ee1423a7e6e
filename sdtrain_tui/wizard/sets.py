"""Several sets of pictures: which there are, and what the highlighted one has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, OptionList
from textual.widgets.option_list import Option

from sdtrain_tui.widgets.cells import clean, cut
from sdtrain_tui.wizard.draft import Draft
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.look import SETS
from sdtrain_tui.wizard.messages import Answered
from sdtrain_tui.wizard.step import label_of

if TYPE_CHECKING:
    from engine.plan.fields import PlanField
    from engine.plan.problems import Problem

Table = dict[str, object]


class SetDraft:
    """One set of a draft, in the place of the draft for the rows of its fields."""

    def __init__(self, draft: Draft, number: int, table: Table) -> None:
        self._draft, self._start = draft, f"{SETS}.{number}."
        self.answers: dict[str, object] = {f"{self._start}{name}": value for name, value in table.items()}

    @property
    def method(self) -> str:
        """The plan's."""
        return self._draft.method

    def idle(self) -> frozenset[str]:
        """All fields of a set matter."""
        return frozenset()

    def automatic(self, key: str, default: object) -> object:
        """What the plan says for all its sets, where it says it."""
        own = f"data.{key.removeprefix(self._start)}"
        fields = self._draft.fields()
        if default is not None or own not in fields:
            return default
        return self._draft.answers.get(own, self._draft.automatic(own, fields[own].default))

    def note(self, key: str) -> tuple[str, bool]:
        """Where a value comes from."""
        return ("yours", True) if key in self.answers else ("as for all sets", False)

    def trouble(self, field: PlanField) -> Problem | None:
        """What is wrong with a field of this set."""
        return self._draft.problem(field.key)


class SetsEditor(Vertical):
    """A button; behind it the sets as a list, the fields of one, and buttons for one more and one less."""

    class Toggled(Message):
        """The sets were opened or closed."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(id="sets")
        self.draft = draft
        self._number = 0

    @property
    def tables(self) -> list[Table]:
        """The sets as they are answered, or else derived."""
        found = self.draft.answers.get(SETS, self.draft.automatic(SETS, []))
        return [dict(cast(Table, each)) for each in found] if isinstance(found, list) else []

    def compose(self) -> ComposeResult:
        yield Button("+ several sets", id="sets-toggle", compact=True)
        with Vertical(id="sets-box") as box:
            yield OptionList(id="sets-list", compact=True)
            yield Vertical(id="set-fields")
            with Horizontal(id="sets-buttons"):
                yield Button("+ one more", id="set-more", compact=True)
                yield Button("- this one", id="set-less", compact=True)
        box.display = bool(self.draft.answers.get(SETS))

    async def on_mount(self) -> None:
        if self.query_one("#sets-box").display:
            await self._show()

    @on(Button.Pressed, "#sets-toggle")
    async def _toggle(self, event: Button.Pressed) -> None:
        event.stop()
        await self.open(not self.query_one("#sets-box").display)

    async def open(self, shown: bool = True) -> None:
        """Show the sets, or hide them; a folder that was named becomes the first one."""
        self.query_one("#sets-box").display = shown
        self.query_one("#sets-toggle", Button).label = "- several sets" if shown else "+ several sets"
        if shown:
            await self._show()
        self.post_message(self.Toggled())

    @on(Button.Pressed, "#set-more")
    async def _more(self, event: Button.Pressed) -> None:
        event.stop()
        tables = self.tables
        folder = self.draft.answers.get("data.path")
        if not tables and folder:
            tables = [{"path": folder}]
            self.post_message(Answered("data.path", None))
        self._number = len(tables)
        await self._take([*tables, {"path": ""}])
        first = self.query_one("#set-fields").query("Input").first()
        first.focus()

    @on(Button.Pressed, "#set-less")
    async def _less(self, event: Button.Pressed) -> None:
        event.stop()
        tables = self.tables
        if tables:
            del tables[self._number]
            self._number = max(0, min(self._number, len(tables) - 1))
            await self._take(tables)

    @on(OptionList.OptionSelected, "#sets-list")
    async def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._number = event.option_index
        await self._show()

    @on(Answered)
    def _answered(self, event: Answered) -> None:
        """A field of the set that is shown: the answer is the whole list."""
        if not event.key.startswith(f"{SETS}."):
            return
        event.stop()
        _, _, number, name = event.key.split(".", 3)
        tables = self.tables
        if int(number) >= len(tables):
            return
        table = tables[int(number)]
        if event.value is None:
            table.pop(name, None)
        else:
            table[name] = event.value
        self.post_message(Answered(SETS, tables))
        self._list(tables)

    async def _take(self, tables: list[Table]) -> None:
        self.draft.answer(SETS, tables or None)
        self.post_message(Answered(SETS, tables or None))
        await self._show()

    async def _show(self) -> None:
        tables = self.tables
        self._list(tables)
        box = self.query_one("#set-fields", Vertical)
        await box.remove_children()
        if tables:
            number = min(self._number, len(tables) - 1)
            one = SetDraft(self.draft, number, tables[number])
            await box.mount(*(FieldRow(field, one, label_of(field)) for field in _fields(number)))
        self.query_one("#set-less").display = bool(tables)

    def _list(self, tables: list[Table]) -> None:
        names = self.query_one("#sets-list", OptionList)
        names.clear_options()
        names.add_options(Option(_line(number, table)) for number, table in enumerate(tables))
        names.display = bool(tables)
        if tables:
            names.highlighted = min(self._number, len(tables) - 1)


def _line(number: int, table: Table) -> Text:
    facts = [f"x{table['repeats']}" if "repeats" in table else "", str(table.get("trigger") or "")]
    facts.insert(0, "class pictures" if table.get("kind") == "class" else "")
    shown = clean(str(table.get("path") or "which folder?"))
    name = shown if len(shown) <= 48 else f"...{shown[-45:]}"
    return Text.assemble(f" {number + 1} {name:<49}", (cut(clean("  ".join(filter(None, facts))), 40), "dim"))


def _fields(number: int) -> list[PlanField]:
    from engine.plan.fields import section_fields
    from engine.plan.picture_sets import PictureSet

    return section_fields(PictureSet, f"{SETS}.{number}")
