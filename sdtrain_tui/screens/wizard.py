"""The wizard: one page a question, everything that can be derived is derived, and a run or a plan comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Button

from engine.errors import UserError
from engine.run.paths import RunDir
from sdtrain_tui.background import in_background
from sdtrain_tui.screens import help_texts
from sdtrain_tui.screens.dialogs import Ask, Confirm, Message
from sdtrain_tui.screens.hints import Hint, Hints
from sdtrain_tui.screens.plan_file import saved_as
from sdtrain_tui.screens.starting import start_new
from sdtrain_tui.wizard.bars import Explanation, Mark, StepBar
from sdtrain_tui.wizard.messages import Answered, GoNext, Jump, Save, Settled, StartRun

# The frame shows before the plan's schema is imported, which takes as long as Textual itself.
if TYPE_CHECKING:
    from sdtrain_tui.wizard.draft import Draft
    from sdtrain_tui.wizard.look import Inspection
    from sdtrain_tui.wizard.step import Step

STEPS = ("method", "base", "data", "recipe", "previews", "hardware", "review")
LOOK_AFTER = 0.35
"""Seconds without a key before folders and models are looked at."""
REFRESH_AFTER = 0.04
"""Seconds in which answers are gathered before the page follows: building and checking a plan takes as long."""


class WizardScreen(Screen[None]):
    """Seven pages over one draft. Leaving the wizard before the start leaves nothing behind."""

    BINDINGS = [
        Binding("escape", "back", "Back", show=False, id="wizard.back"),
        Binding("ctrl+n,alt+right", "next", "Next step", show=False, id="wizard.next"),
        Binding("alt+left", "back", "Previous step", show=False, id="wizard.previous"),
        Binding("tab,down", "app.focus_next", show=False),
        Binding("shift+tab,up", "app.focus_previous", show=False),
        Binding("slash,f3", "find", "Find a field", show=False, id="wizard.find"),
        Binding("ctrl+s", "save", "Save the plan to a file", show=False, id="wizard.save"),
    ]
    HELP_PARTS = help_texts.WIZARD

    def __init__(self, answers: Mapping[str, object], *, alone: bool = False) -> None:
        super().__init__()
        self._answers = answers
        self._draft: Draft | None = None
        self._alone = alone
        self._steps: dict[int, Step] = {}
        self._current = 0
        self._reached = 0
        self._busy = self._whole = self._starting = self._refreshing = False

    def compose(self) -> ComposeResult:
        yield StepBar(STEPS)
        with Container(id="wizard-main"):
            with Container(id="wizard-page"):
                yield from ()
            yield Explanation(id="wizard-help")
        with Horizontal(id="wizard-buttons"):
            yield Button("< Back", id="back", compact=True)
            yield Button("Next >", id="next", compact=True)
        yield Hints(
            [
                Hint("Tab", "move", "app.focus_next"),
                Hint("Enter", "choose", "app.focus_next"),
                Hint("Ctrl+N", "next step", "next"),
                Hint("Esc", "back", "back"),
                Hint("Ctrl+S", "save plan", "save"),
                Hint("F1", "help", "app.help"),
            ]
        )

    @property
    def ready(self) -> bool:
        """Is the page there? Keys wait for it."""
        step = self._steps.get(self._current)
        return step is not None and step.is_mounted and step.ready

    @property
    def draft(self) -> Draft:
        """The answers and what follows from them."""
        assert self._draft is not None, "the wizard has not begun"
        return self._draft

    def on_mount(self) -> None:
        self._looking = self.set_timer(3600, self._look, pause=True)
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        """After the first paint."""
        from sdtrain_tui.wizard.draft import Draft

        self._draft = Draft(self._answers)
        await self._go(0)
        self._look_soon(0)

    async def _go(self, index: int, key: str = "") -> None:
        """Bring a step to the front; it is mounted on its first visit and then stays."""
        from sdtrain_tui.wizard import steps

        step = self._steps.get(index)
        if step is None:
            step = self._steps[index] = steps.STEPS[index](self.draft)
            await self.query_one("#wizard-page").mount(step)
        for place, other in self._steps.items():
            other.display = place == index
        self._current, self._reached = index, max(self._reached, index)
        step.show()
        step.visited()
        if not (key and step.focus_key(key)):
            step.focus_first()
        self.query_one("#next", Button).display = index < len(STEPS) - 1
        self._show_bar()
        self.call_after_refresh(self._explain)

    def _show_bar(self) -> None:
        from sdtrain_tui.wizard import steps

        marks: list[Mark] = []
        method, place = self.draft.method, steps.step_of
        for index, step in enumerate(steps.STEPS):
            levels = {problem.level for problem in self.draft.problems if place(problem.key, method) == index}
            done: Mark = "done" if index < self._reached or index in self._steps else "open"
            answered = any(step.owns(key, method) for key in self.draft.answers)
            if levels and (index < self._reached or (answered and index == self._reached)):
                done = "error" if "error" in levels else "warning"
            marks.append(done)
        self.query_one(StepBar).show(self._current, marks)

    @on(Answered)
    async def _answered(self, event: Answered) -> None:
        event.stop()
        method = self.draft.method
        looks = self.draft.answer(event.key, event.value)
        if self.draft.method != method:
            await self._drop_pages_after_method()
        if looks:
            self._look_soon(LOOK_AFTER)
        if not self._refreshing:
            self._refreshing = True
            self.set_timer(REFRESH_AFTER, self._refresh)

    async def _drop_pages_after_method(self) -> None:
        """Another method has other fields, so pages that show them are built anew."""
        for index in [index for index, step in self._steps.items() if step.OF_METHOD]:
            await self._steps.pop(index).remove()

    def _refresh(self) -> None:
        self._refreshing = False
        self._steps[self._current].show()
        self._show_bar()
        self._explain()

    def _look_soon(self, delay: float, whole: bool = False) -> None:
        self._looking.stop()
        self._whole = self._whole or whole
        self._looking = self.set_timer(max(delay, 0.01), self._look)

    def _look(self) -> None:
        """One look at a time; when the answers changed meanwhile, another one follows."""
        if not self._busy:
            self._busy = True
            from sdtrain_tui.wizard.look import look

            whole, self._whole = self._whole, False
            answers = self.draft.snapshot()
            in_background(
                self, lambda: look(answers, whole), lambda found: self._looked(answers, found, whole)
            )

    def _looked(self, answers: dict[str, object], found: Inspection, whole: bool) -> None:
        from sdtrain_tui.wizard.look import LOOK_KEYS

        self._busy = False
        now = self.draft.snapshot()
        if any(answers.get(key) != now.get(key) for key in LOOK_KEYS):
            self._look_soon(0, whole)
        else:
            self.draft.take(found)
            self._refresh()
            if found.large and self._whole:
                self._look_soon(0, True)

    @on(Settled)
    def _settled(self, event: Settled) -> None:
        event.stop()
        from sdtrain_tui.wizard.look import names_folder

        if names_folder(event.key) and not self.draft.fresh:
            self._look_soon(0, True)

    def on_descendant_focus(self) -> None:
        self._explain()

    def _explain(self) -> None:
        step = self._steps.get(self._current)
        if step is not None:
            self.query_one("#wizard-help", Explanation).show(step.explain(self.focused))

    async def action_next(self) -> None:
        if self._steps and self._current < len(STEPS) - 1:
            await self._go(self._current + 1)

    async def action_back(self) -> None:
        if self._current:
            await self._go(self._current - 1)
        elif self._draft is not None and self._draft.touched:
            question = Confirm("leave?", ["Your answers so far are not saved."], "Leave", "Stay")
            self.app.push_screen(question, self._leave)
        else:
            self._leave(True)

    def _leave(self, sure: bool | None) -> None:
        if sure and self._alone:
            self.app.exit(0)
        elif sure:
            self.app.pop_screen()

    @on(GoNext)
    @on(Button.Pressed, "#next")
    async def _pressed_next(self) -> None:
        await self.action_next()

    @on(Button.Pressed, "#back")
    async def _pressed_back(self) -> None:
        await self.action_back()

    @on(StepBar.Chosen)
    async def _chosen_step(self, event: StepBar.Chosen) -> None:
        if event.index <= self._reached + 1:
            await self._go(event.index)

    @on(Jump)
    async def _jump(self, event: Jump) -> None:
        from sdtrain_tui.wizard.steps import step_of

        await self._go(step_of(event.key, self.draft.method), event.key)

    def action_find(self) -> None:
        if self._draft is None:
            return
        from sdtrain_tui.screens.field_search import FieldSearch

        fields = list(self.draft.fields().values())
        self.app.push_screen(FieldSearch(fields), self._found)

    def _found(self, key: str | None) -> None:
        if key:
            self.post_message(Jump(key))

    @on(Save)
    def action_save(self) -> None:
        if self._draft is None:
            return
        plan = self.draft.plan
        if plan is None:
            self.app.push_screen(Message("not yet", self.draft.what_is_missing()))
            return
        lines = ["The plan is a small TOML file:", "sdtrain run FILE starts it, on any machine."]
        self.app.push_screen(Ask("save the plan as", lines, f"{plan.name}.toml"), self._save_to)

    def _save_to(self, name: str | None) -> None:
        if name and (plan := self.draft.plan) is not None:
            self.app.push_screen(saved_as(name, plan))

    @on(StartRun)
    def _start(self) -> None:
        plan = self.draft.plan
        if plan is None or self.draft.errors:
            self.app.push_screen(Message("not yet", self.draft.what_is_missing()))
            return
        from engine.plan.files import dumps

        if not self._starting:
            self._starting = True
            self.query_one(Hints).say("starting the engine ...")
            toml, name = dumps(plan), plan.name
            in_background(self, lambda: start_new(toml, name), self._started)

    def _started(self, run: RunDir | UserError) -> None:
        self._starting = False
        if isinstance(run, UserError):
            self.app.push_screen(Message.of(run, "the run did not start"))
            return
        from sdtrain_tui.screens.monitor import MonitorScreen

        if self._alone:
            self.app.push_screen(MonitorScreen(run, alone=True))  # the first screen cannot be switched
        else:
            self.app.switch_screen(MonitorScreen(run))
