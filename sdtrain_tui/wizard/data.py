"""Step 3: the pictures: where they lie, what goes with them, and what a look at them found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Button

from engine.plan.captions import Captions
from engine.plan.methods import METHODS
from engine.run.paths import captions_folder
from sdtrain_tui.wizard.controls import PathInput
from sdtrain_tui.wizard.data_facts import condition_facts, facts_of, prior_facts
from sdtrain_tui.wizard.facts_view import Fact, FactLines
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.look import SETS
from sdtrain_tui.wizard.messages import Answered
from sdtrain_tui.wizard.more_fields import MoreFields
from sdtrain_tui.wizard.paths import expanded
from sdtrain_tui.wizard.sets import SetsEditor
from sdtrain_tui.wizard.step import Step, label_of

if TYPE_CHECKING:
    from engine.plan.fields import PlanField
    from engine.plan.problems import Problem

CLASS = "data.class_"
CLASS_KEYS = ("data.class_prompt", "data.class_count", "data.class_path")
CAPTIONS = (
    "data.caption_dropout",
    "data.shuffle_tags",
    "data.keep_tags",
    *(f"captions.{name}" for name in Captions.model_fields),
)
PICTURES = (
    "data.masks",
    "data.mask_path",
    "data.unmasked_weight",
    "data.more_resolutions",
    "data.bucket_min",
    "data.bucket_max",
    "data.brightness",
    "data.contrast",
    "data.saturation",
    "data.hue",
)
LABELS = {
    "data.path": "folder",
    "data.trigger": "trigger word",
    "data.flip": "mirror too",
    "data.class_path": "class folder",
}


def with_pictures(method: str) -> tuple[str, ...]:
    """The keys that are asked for on the page of the pictures."""
    spec = METHODS[method]
    optional = CLASS_KEYS if spec.class_pictures else ()
    return (
        "data.path",
        *spec.asks,
        *(key for key in (*optional, *CAPTIONS, *PICTURES) if key not in spec.asks),
    )


class DataStep(Step):
    """A folder and what the method wants with it; below, what the scan says while they are typed."""

    NAME = "data"
    LEAD = "Where are the pictures? They are only read; captions beside them help."
    ABOUT = ("Class pictures show others of the same kind, so that the model does not forget them.",)
    OF_METHOD = True
    KEYS = ("data.path",)

    def content(self) -> ComposeResult:
        fields = self.draft.fields()
        asks = METHODS[self.draft.method].asks
        yield from (self._row(fields[key]) for key in ("data.path", *asks))
        edit = Button("edit captions ...", id="edit-captions", compact=True)
        yield MoreFields(self._of_captions, self._rows, id="more-captions", name="captions", beside=(edit,))
        yield MoreFields(self._of_pictures, self._rows, id="more-pictures", name="masks, sizes and colours")
        more = [key for key in with_pictures(self.draft.method) if key.startswith(CLASS) and key not in asks]
        if more:
            yield Button("+ class pictures", id="classes", compact=True)
            with Vertical(id="class-fields") as box:
                yield from (self._row(fields[key]) for key in more)
            box.display = any(key in self.draft.answers for key in more)
        yield SetsEditor(self.draft)
        yield FactLines(id="data-facts")

    @on(Button.Pressed, "#edit-captions")
    def _edit(self, event: Button.Pressed) -> None:
        """Open the editor on the folder; what it saves is the plan's folder of captions."""
        from sdtrain_tui.screens.captions import CaptionsScreen
        from sdtrain_tui.screens.dialogs import Message

        event.stop()
        answers = self.draft.answers
        data = answers.get("data.path")
        if not isinstance(data, str) or not data.strip() or answers.get(SETS):
            lines = ["Name a folder of pictures first; of several sets each folder is edited by itself."]
            self.app.push_screen(Message("no captions to edit", lines))
            return
        place = expanded(data).absolute()
        given = answers.get("captions.folder")
        folder = expanded(given).absolute() if isinstance(given, str) and given else captions_folder(place)

        def edited(saved: bool | None) -> None:
            if not saved:
                return
            for field_row in self.query("#field-captions-folder PathInput").results(PathInput):
                with self.prevent(PathInput.Changed):
                    field_row.value = str(folder)
            self.post_message(Answered("captions.folder", str(folder)))

        trigger, recursive = (
            str(answers.get("data.trigger") or ""),
            answers.get("data.recursive") is not False,
        )
        self.app.push_screen(CaptionsScreen(place, folder, trigger, recursive), edited)

    def _of_captions(self) -> list[str]:
        return [key for key in CAPTIONS if key not in METHODS[self.draft.method].asks]

    def _of_pictures(self) -> list[str]:
        return [key for key in PICTURES if key not in METHODS[self.draft.method].asks]

    def _rows(self, keys: list[str]) -> Iterable[FieldRow]:
        fields = self.draft.fields()
        return (self._row(fields[key]) for key in keys)

    def _row(self, field: PlanField) -> FieldRow:
        labels = LABELS | dict(METHODS[self.draft.method].labels)
        return FieldRow(field, self.draft, labels.get(field.key) or label_of(field))

    @on(Button.Pressed, "#classes")
    def _toggle(self, event: Button.Pressed) -> None:
        event.stop()
        self._open(not self.query_one("#class-fields").display)

    def _open(self, shown: bool) -> None:
        self.query_one("#class-fields").display = shown
        self.query_one("#classes", Button).label = "- class pictures" if shown else "+ class pictures"

    def focus_key(self, key: str) -> bool:
        if key.startswith(CLASS) and self.query("#class-fields"):
            self._open(True)
        return super().focus_key(key)

    @classmethod
    def owns(cls, key: str, method: str) -> bool:
        return key in with_pictures(method) or key == SETS or key.startswith(f"{SETS}.")

    @on(PathInput.Candidates)
    def _candidates(self, event: PathInput.Candidates) -> None:
        event.stop()
        self.query_one(FactLines).show_names(event.names)

    def show(self) -> None:
        super().show()
        self.query_one(FactLines).show(self._facts())

    def _facts(self) -> list[Fact]:
        draft = self.draft
        problem = draft.problem("data.path") or draft.problem(SETS)
        if "data.path" not in draft.answers and not draft.answers.get(SETS):
            return [("", "quiet", "no folder yet; Tab completes its name")]
        if problem is not None and problem.level == "error":
            return FactLines.of_problem(problem)
        if draft.large:
            return [("large", "warn", "many files lie below: Enter looks at all of them")]
        if draft.report is None or draft.facts is None:
            return [("", "quiet", "looking at the pictures ...")]
        fields, folder = self._wrong()
        return [*fields, *condition_facts(draft), *prior_facts(draft), *facts_of(draft.report), *folder]

    def _wrong(self) -> tuple[list[Fact], list[Fact]]:
        """Problems of the other fields on this page, and those of the folder that the scan's facts do not tell."""
        facts, report = self.draft.facts, self.draft.report
        pairs = facts.pairs if facts is not None else None
        found = {finding.what for finding in report.problems} if report is not None else set()
        labels = {field_row.field.key: field_row.label for field_row in self.query(FieldRow)}
        fields: list[Fact] = []
        folder: list[Fact] = []
        for problem in self.draft.problems:
            counted = pairs is not None and problem.key.endswith(".condition_path")
            told = counted and problem.level == "warning"
            if problem.key in ("data.path", SETS):
                if not any(what in problem.what for what in found):
                    folder += _rows("folder", problem)
            elif problem.key in labels and not told:
                fields += _rows(labels[problem.key], problem)
        return fields, folder


def _rows(label: str, problem: Problem) -> list[Fact]:
    role = "error" if problem.level == "error" else "warn"
    what = f"{problem.what}: {problem.why}" if problem.why else problem.what
    return [(label, role, what), *([("", "text", problem.fix)] if problem.fix else [])]
