"""Step 5: what is drawn while it trains, to see how far it is."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.widgets import TextArea

from sdtrain_tui.wizard.facts_view import Fact, FactLines
from sdtrain_tui.wizard.messages import Answered
from sdtrain_tui.wizard.more_fields import MoreFields
from sdtrain_tui.wizard.step import Step, note

KEY = "samples.prompts"
SHOWN = 4


class PreviewsStep(Step):
    """Prompts, one a line, and how often; the same seeds each time, so that pictures can be compared."""

    NAME = "previews"
    LEAD = "What is drawn on the way, to see how far it is?"
    ABOUT = (
        "One prompt a line; with none, captions of your pictures are taken. The seeds stay the same, "
        "so that pictures can be compared.",
    )
    KEYS = ("samples.every", "samples.guidance", "samples.steps", "samples.prompts", "samples.negative")
    PREFIXES = ("samples", "validation")

    def content(self) -> ComposeResult:
        yield from self.rows(("samples.every", "samples.guidance"))
        yield note("  prompts, one a line", classes="label")
        given = self.draft.answers.get(KEY)
        text = "\n".join(map(str, given)) if isinstance(given, list) else ""
        area = TextArea(text, id="prompts", compact=True, soft_wrap=False, show_line_numbers=False)
        area.cursor_blink = False
        yield area
        yield FactLines(id="previews-facts")
        more = (
            "every_epochs",
            "count",
            "at_start",
            "steps",
            "negative",
            "seed",
            "guidance_rescale",
            "clip",
            "width",
            "height",
        )
        yield from self.rows(f"samples.{name}" for name in more)
        yield MoreFields(self._validation, self.rows, id="validation", name="validation")

    def _validation(self) -> list[str]:
        return [key for key in self.draft.fields() if key.startswith("validation.")]

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        event.stop()
        prompts = [line.strip() for line in event.text_area.text.splitlines() if line.strip()]
        self.post_message(Answered(KEY, prompts or None))

    def show(self) -> None:
        super().show()
        problem = self.draft.problem(KEY)
        if problem is not None:
            self.query_one(FactLines).show(FactLines.of_problem(problem))
            return
        self.query_one(FactLines).show([*self._what_is_drawn(), *self._what_is_held_out()])

    def _what_is_held_out(self) -> list[Fact]:
        plan, report = (self.draft.built.plan if self.draft.built else None), self.draft.report
        if plan is None or report is None or not plan.validation.on or plan.validation.path:
            return []
        from engine.planning.data import trained_on

        count = len(report.items)
        held = count - len(trained_on(plan, report))
        return [("held out", "quiet", f"{held} of {count} pictures, which are not trained on")]

    def _what_is_drawn(self) -> list[Fact]:
        plan, report = (self.draft.built.plan if self.draft.built else None), self.draft.report
        if plan is None or report is None:
            unknown = KEY not in self.draft.answers
            return [("drawn", "quiet", "captions of the pictures, once they are known")] if unknown else []
        from engine.plan.previews import lenders, preview_prompts

        prompts = preview_prompts(plan, report.items)[:SHOWN]
        pairs = self.draft.facts.pairs if self.draft.facts is not None else None
        items = pairs.report.items if pairs is not None else report.items
        if plan.options.conditions is None or not items:
            shown = [] if KEY in self.draft.answers else prompts
            return [("drawn" if not i else "", "quiet", text) for i, text in enumerate(shown)]
        lent = [
            ("", "quiet", f"{item.rel}'s: {text or '(no words)'}")
            for text, item in zip(prompts, lenders(items, prompts), strict=True)
        ]
        about = "each with a condition: of the first picture with that caption, else the next one's"
        return [("drawn", "text", about), *lent]
