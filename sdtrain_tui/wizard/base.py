"""Step 2: the model that is taught: one that is found here, or a path, file or hub id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from sdtrain_tui.background import in_background
from sdtrain_tui.widgets.cells import clean, cut
from sdtrain_tui.wizard.controls import PathInput
from sdtrain_tui.wizard.facts_view import FactLines
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.messages import Answered, GoNext
from sdtrain_tui.wizard.more_fields import MoreFields
from sdtrain_tui.wizard.step import Step

if TYPE_CHECKING:
    from engine.models.bases import BaseInfo

KEY = "base.model"
DOWNLOAD = "base.allow_download"


class Bases(OptionList):
    """The models that are here. Enter where none is chosen chooses the first."""

    def action_select(self) -> None:
        if self.highlighted is None:
            self.action_first()
        else:
            super().action_select()


class BaseStep(Step):
    """Known models to pick from, a line to name another, and what was recognised."""

    NAME = "base"
    LEAD = "Which model is taught? Pick one, or name a folder, a file or a hub id."
    ABOUT = (
        "Up and Down choose, Enter goes on. Models are found in ./models, in the folders of ComfyUI and "
        "AUTOMATIC1111 in your home, and in the hub cache.",
    )
    KEYS = (KEY, DOWNLOAD)
    PREFIXES = ("base",)

    def content(self) -> ComposeResult:
        yield Bases(id="bases", compact=True)
        yield FieldRow(self.draft.fields()[KEY], self.draft, "model")
        yield FieldRow(self.draft.fields()[DOWNLOAD], self.draft, "download")
        yield FactLines(id="base-facts")
        yield MoreFields(self._rest, self.rows, id="more-base")

    def _rest(self) -> list[str]:
        return [key for key in self.draft.fields() if key.startswith("base.") and key not in self.KEYS]

    def on_mount(self) -> None:
        self.ready = False
        in_background(self, bases_here, self._listed)

    def _listed(self, found: list[BaseInfo]) -> None:
        self.ready = True
        options = self.query_one(Bases)
        options.add_options(Option(_line(info), id=info.model) for info in found)
        if not found:
            options.add_option(Option(Text(" no model was found here: name one below"), disabled=True))
            return
        self._mark_chosen()

    def _mark_chosen(self) -> None:
        """What is highlighted is what is chosen: none where another model is named."""
        options = self.query_one(Bases)
        chosen = str(self.draft.answers.get(KEY, ""))
        names = [option.id for option in options.options]
        with self.prevent(OptionList.OptionHighlighted):
            options.highlighted = names.index(chosen) if chosen in names else None

    @on(OptionList.OptionHighlighted)
    def _chosen(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        stands = event.option_index == event.option_list.highlighted
        if stands and event.option_id is not None and event.option_id != self.draft.answers.get(KEY):
            with self.prevent(PathInput.Changed):
                self.query_one(PathInput).value = event.option_id
            self.post_message(Answered(KEY, event.option_id))

    @on(OptionList.OptionSelected)
    def _go_on(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(GoNext())

    @on(PathInput.Candidates)
    def _candidates(self, event: PathInput.Candidates) -> None:
        event.stop()
        self.query_one(FactLines).show_names(event.names)

    def show(self) -> None:
        super().show()
        self._mark_chosen()
        lines = self.query_one(FactLines)
        base, problem = self.draft.base, self.draft.problem(KEY)
        if KEY not in self.draft.answers:
            lines.show([("", "quiet", "nothing chosen yet")])
        elif problem is not None:
            lines.show(FactLines.of_problem(problem))
        elif base is None or base.model != self.draft.answers[KEY]:
            lines.show([("", "quiet", "looking ...")])
        else:
            lines.show(_facts(base))


def bases_here() -> list[BaseInfo]:
    """The models that are on this machine."""
    from engine.models.bases import known_bases

    return known_bases()


def _facts(base: BaseInfo) -> list[tuple[str, str, str]]:
    rows = [
        ("found", "strong", base.title),
        *(_real_ones() if base.tiny else ()),
        ("predicts", "text", f"{base.prediction}, made for {base.native_resolution} px"),
        ("where", "text", str(base.path) if base.path else "not on this machine yet"),
    ]
    return rows + [("because" if i == 0 else "", "quiet", reason) for i, reason in enumerate(base.reasons)]


def _real_ones() -> list[tuple[str, str, str]]:
    """What a tiny model is for, and how to get one that knows pictures."""
    from engine.models.specs import FAMILIES

    known = [f"{spec.hub_id} ({spec.short})" for spec in FAMILIES.values() if spec.hub_id]
    way = f"name {' or '.join(known)} above and set download to on, or a file from elsewhere"
    return [("for", "text", "trying things out: it knows a few shapes"), ("for pictures", "text", way)]


def _line(info: BaseInfo) -> Text:
    name = cut(clean(info.model), 44)
    return Text.assemble(f" {name:<45}", (f" {info.title}", "dim"))
