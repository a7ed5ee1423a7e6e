"""Step 7: everything that is wrong, the whole plan, and the start."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from engine.plan.problems import Problem
from sdtrain_tui.widgets.cells import clean
from sdtrain_tui.wizard.messages import Jump, Save, StartRun
from sdtrain_tui.wizard.step import Step


class PlanText(VerticalScroll):
    """The plan as the file will hold it, scrolled by keys."""


class ReviewStep(Step):
    """Problems with a jump to their field, the name, the plan's text, start and save."""

    NAME = "review"
    LEAD = "Ready? Enter on a problem goes to its field. Closing this terminal is fine."
    ABOUT = (
        "Start makes the run's folder and starts its engine; the monitor opens. "
        "Save writes the plan, to be started by sdtrain run.",
    )
    OF_METHOD = True
    KEYS = ("name", "seed")

    _listed: list[Problem] | None = None

    def content(self) -> ComposeResult:
        with Horizontal(id="review-buttons"):
            yield Button(" Start training ", id="start", compact=True)
            yield Button(" Save plan ", id="save", compact=True)
            yield Static(id="verdict", markup=False)
        yield from self.rows(("name", "seed"), {"name": "run's name"})
        yield OptionList(id="problems", compact=True)
        with PlanText(id="plan-text"):
            yield Static(id="toml", markup=False)

    def show(self) -> None:
        super().show()
        problems = self.draft.problems
        errors = len(self.draft.errors)
        warnings = len(problems) - errors
        # While model and pictures are looked at it can be pressed and says so, or the focus would stay on another page.
        self.query_one("#start", Button).disabled = bool(errors)
        said = [
            f"{errors} to mend first" if errors else "ready to start" if self.draft.plan else "looking ..."
        ]
        said += [f"{warnings} to consider"] if warnings else []
        self.query_one("#verdict", Static).update(Text(", ".join(said)))
        options = self.query_one("#problems", OptionList)
        options.display = bool(problems)
        if problems != self._listed:
            self._listed = problems
            options.clear_options()
            options.add_options(
                Option(_problem_text(problem), id=str(i)) for i, problem in enumerate(problems)
            )
            options.highlighted = 0 if problems else None
        from engine.plan.files import dumps

        plan = self.draft.plan
        self.query_one("#toml", Static).update(Text(dumps(plan).strip() if plan else "no plan yet"))

    def visited(self) -> None:
        self.query_one("#plan-text").scroll_home(animate=False)

    def focus_first(self) -> None:
        target = "#problems" if self.draft.errors else "#start"
        self.query_one(target).focus()

    @on(OptionList.OptionSelected, "#problems")
    def _jump(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        key = self.draft.problems[int(event.option_id or 0)].key
        if key not in self.KEYS or not self.focus_key(key):
            self.post_message(Jump(key))

    @on(Button.Pressed, "#start")
    def _start(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(StartRun())

    @on(Button.Pressed, "#save")
    def _save(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(Save())


def _problem_text(problem: Problem) -> Text:
    error = problem.level == "error"
    sign = (" x ", "bold red") if error else (" ! ", "bold yellow")
    where = f"{problem.key}: " if problem.key else ""
    rest = "; ".join(part for part in (problem.why, problem.fix) if part)
    return Text.assemble(sign, clean(f"{where}{problem.what}"), (clean(f"  {rest}"), "dim"))
