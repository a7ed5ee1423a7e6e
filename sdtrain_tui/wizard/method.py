"""Step 1: what is to be taught, as one card a method."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.plan.methods import METHODS, MethodSpec
from sdtrain_tui.wizard.messages import Answered, GoNext
from sdtrain_tui.wizard.step import Step


class MethodStep(Step):
    """The list of methods; the card beside it tells what each is for, needs and gives."""

    NAME = "method"
    LEAD = "What do you want to train?"
    ABOUT = ("Up and Down choose, Enter goes on.",)
    PREFIXES = ("method",)

    def content(self) -> ComposeResult:
        with Horizontal(classes="list-and-card"):
            yield OptionList(
                *(Option(Text(f" {spec.title} "), id=name) for name, spec in METHODS.items()), compact=True
            )
            yield Static(classes="card", markup=False)

    def on_mount(self) -> None:
        for options in self.query(OptionList):  # none where the app leaves while it begins
            options.highlighted = list(METHODS).index(self.draft.method)

    @on(OptionList.OptionHighlighted)
    def _chosen(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        # A list highlights its first line by itself before the draft's own; only where it stands now counts.
        if event.option_id is not None and event.option_index == event.option_list.highlighted:
            self.query_one(".card", Static).update(card(METHODS[event.option_id]))
            if event.option_id != self.draft.method:
                self.post_message(Answered("method", event.option_id))

    @on(OptionList.OptionSelected)
    def _go_on(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(GoNext())


def card(spec: MethodSpec) -> Table:
    """A method in words."""
    table = Table.grid(padding=(0, 2, 1, 0), expand=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(ratio=1)
    low, high = spec.typical_pictures
    rows = (
        ("goal", spec.goal),
        ("input", spec.input),
        ("output", spec.output),
        ("use", spec.use),
        ("pictures", f"{low:,} to {high:,} is usual"),
        *(("note", text) for text in spec.notes),
    )
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return table
