"""Step 4: how it is trained: the method's own options and the loop's, derived and with the reason for each."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult

from engine.plan.methods import METHODS
from sdtrain_tui.wizard.data import CLASS, with_pictures
from sdtrain_tui.wizard.facts_view import FactLines
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.look import SETS
from sdtrain_tui.wizard.more_fields import MoreFields
from sdtrain_tui.wizard.step import Step, full_label

MAIN = (
    "train.steps",
    "train.epochs",
    "train.learning_rate",
    "train.batch_size",
    "train.gradient_accumulation",
    "data.resolution",
)
FIRST_OF_METHOD = 3
LABELS = {"train.gradient_accumulation": "grad. accumulation"} | {
    f"{name}.text_encoder_learning_rate": "text encoder rate" for name in METHODS
}
ELSEWHERE = ("base", "samples", "validation", "hardware", "checkpoints", "output")
ELSEWHERE_KEYS = ("version", "name", "method", "seed", "train.precision", "train.weights")


class RecipeStep(Step):
    """The few values that matter, then all others behind one button."""

    NAME = "recipe"
    LEAD = "How is it trained? Grey values are derived; type over any of them."
    ABOUT = ("Enter opens and closes the rest of the fields.",)
    OF_METHOD = True
    PREFIXES = ("train", "optimizer", "objective", "data")

    def content(self) -> ComposeResult:
        yield FactLines(id="recipe-facts")
        own = self._own_keys()
        yield from self.rows([*own[:FIRST_OF_METHOD], *MAIN], LABELS)
        yield MoreFields(self._rest, self._more, id="more-recipe")

    def _own_keys(self) -> list[str]:
        """The method's own fields, less those asked for with the pictures: its very own first, rarely used last."""
        own, asked = self.draft.method + ".", with_pictures(self.draft.method)
        fields = self.draft.fields()
        keys = [key for key in fields if key.startswith(own) and key not in asked]
        very_own = METHODS[self.draft.method].options.__annotations__
        return sorted(keys, key=lambda key: (fields[key].advanced, key.removeprefix(own) not in very_own))

    def _rest(self) -> list[str]:
        method, answers = self.draft.method, self.draft.answers
        shown = {*self._own_keys()[:FIRST_OF_METHOD], *MAIN, *ELSEWHERE_KEYS, SETS, *with_pictures(method)}
        if not METHODS[method].class_pictures:
            shown |= {key for key in self.draft.fields() if key.startswith(CLASS) and key not in answers}
        keys = self.draft.fields()
        return [key for key in keys if key not in shown and key.split(".")[0] not in ELSEWHERE]

    def _more(self, keys: list[str]) -> Iterable[FieldRow]:
        fields = self.draft.fields()
        return self.rows(keys, {key: LABELS.get(key) or full_label(fields[key]) for key in keys})

    def show(self) -> None:
        super().show()
        plan = self.draft.built.plan if self.draft.built else None
        if plan is None:
            self.query_one(FactLines).show(
                [("", "quiet", "choose a base model and pictures first: the values follow")]
            )
            return
        options = plan.options
        effective = plan.train.batch_size * plan.train.gradient_accumulation
        facts = [
            (
                "pictures a step",
                "text",
                f"{effective}, so {plan.train.steps * effective:,} in all{self._epochs(effective)}",
            )
        ]
        scale = options.effective_scale
        if scale is not None:
            facts.insert(0, ("effective scale", "text", f"{scale:.3g}, from alpha and rank"))
        self.query_one(FactLines).show(facts)

    def _epochs(self, effective: int) -> str:
        report, built = self.draft.report, self.draft.built
        if report is None or built is None or not report.items:
            return ""
        from engine.planning.data import trained_on

        total = built.plan.train.steps * effective
        if not report.sets:
            return f": each picture {total / len(trained_on(built.plan, report)):.3g} times"
        draws = sum(one.pictures * one.repeats for one in report.sets)
        least, most = (total * each([one.repeats for one in report.sets]) / draws for each in (min, max))
        return f": each picture {least:.3g}{f' to {most:.3g}' if most > least else ''} times"
