"""What the user has answered so far, and everything that follows from it: the wizard's only state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from engine.plan.methods import DEFAULT_METHOD, METHODS
from engine.plan.problems import PlanErrors, Problem, from_validation
from sdtrain_tui.wizard.look import LOOK_KEYS, Inspection, without

# The first page shows before what is imported in functions here: it costs 0.4 s.
if TYPE_CHECKING:
    from engine.dataset.report import DatasetReport
    from engine.models.bases import BaseInfo
    from engine.plan.fields import PlanField
    from engine.plan.schema import Plan
    from engine.planning.build import Built, Facts

Texts = list[tuple[str, str]]


class Draft:
    """Only what the user gave is an answer. `build` derives the rest, as it does for `sdtrain new`."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self.answers: dict[str, object] = dict(answers)
        self._begun = dict(answers)
        self.facts: Facts | None = None
        """None until somebody has looked."""
        self._built: Built | None = None
        self._problems: list[Problem] = []
        self._behind = False
        self.fresh = False
        """Do the facts belong to the present answers?"""
        self.large: frozenset[str] = frozenset()
        self._wrong: dict[str, Problem] = {}
        self._reasons: dict[str, tuple[object, str]] = {}

    @property
    def method(self) -> str:
        """The method answered, else the schema's default."""
        method = str(self.answers.get("method", DEFAULT_METHOD))
        return method if method in METHODS else DEFAULT_METHOD

    @property
    def touched(self) -> bool:
        """Has the user answered something that the draft did not begin with?"""
        usual = {"method": DEFAULT_METHOD}
        return usual | self.answers != usual | self._begun

    @property
    def built(self) -> Built | None:
        """The plan with its derived values; none while something keeps it from being built."""
        self._catch_up()
        return self._built

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong or doubtful, errors first."""
        self._catch_up()
        return self._problems

    @property
    def plan(self) -> Plan | None:
        """The plan as it stands; none while something that it cannot do without is missing or wrong."""
        return None if self.built is None or self._wrong or not self.fresh else self.built.plan

    @property
    def errors(self) -> list[Problem]:
        """What keeps the run from starting."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def base(self) -> BaseInfo | None:
        """The base that the answers name, once it was found."""
        return None if self.facts is None else self.facts.base

    @property
    def report(self) -> DatasetReport | None:
        """What the pictures are like, once they were looked at."""
        return None if self.facts is None else self.facts.report

    def fields(self) -> dict[str, PlanField]:
        """The declared fields of the method's plan, by key."""
        from engine.plan.schema import plan_fields

        return {field.key: field for field in plan_fields(self.method)}

    def answer(self, key: str, value: object | None) -> bool:
        """Take an answer, or take it back with none; says whether the facts have to be looked at again."""
        if value is None:
            changed = self.answers.pop(key, None) is not None
        else:
            changed = key not in self.answers or self.answers[key] != value
            self.answers[key] = value
        if not changed and key not in self._wrong:
            return False
        from engine.plan.files import path_keys, unusable

        problem = None if value is None else validate(key, value)
        if problem is None and key in path_keys(self.method):
            problem = unusable(key, value)
        self._wrong.pop(key, None)
        if problem is not None:
            self._wrong[key] = problem
        if key in LOOK_KEYS:
            self.fresh = False
            self.facts = None if self.facts is None else without(self.facts, key)
        self._behind = True
        return key in LOOK_KEYS and problem is None

    def snapshot(self) -> dict[str, object]:
        """The answers that are right by themselves, without those about another method."""
        others = METHODS.keys() - {self.method}
        return {
            key: value
            for key, value in self.answers.items()
            if key not in self._wrong and key.partition(".")[0] not in others
        }

    def idle(self) -> frozenset[str]:
        """Fields that have no effect as the others stand; of the method alone while no plan can be built."""
        from engine.plan.base_model import idle_of
        from engine.plan.schema import own_options

        if self.built is not None:
            base, asked = self.facts.base if self.facts is not None else None, self.built.plan.base.prediction
            predicts = base.prediction if base is not None and asked == "auto" else asked
            of_base = idle_of(base.family, predicts) if base is not None else frozenset()
            return self.built.plan.idle | {f"base.{name}" for name in of_base}
        options = own_options(self.method, self.answers)
        return frozenset(f"{self.method}.{name}" for name in options.idle) if options else frozenset()

    def take(self, found: Inspection) -> None:
        """What looking gave, for the present answers."""
        self.facts, self.large, self.fresh = found.facts, found.large, not found.large
        self._behind = True

    def automatic(self, key: str, default: object) -> object:
        """The value that counts where the user gives none."""
        self._catch_up()
        return self._reasons[key][0] if key in self._reasons else default

    def problem(self, key: str) -> Problem | None:
        """The worst problem of a field."""
        mine = [problem for problem in self.problems if problem.key == key]
        return min(mine, key=lambda problem: problem.level != "error", default=None)

    def note(self, key: str) -> tuple[str, bool]:
        """Where a value comes from in a few words, and whether it is the user's own."""
        if key in self.answers:
            return "yours", True
        self._catch_up()
        why = self._reasons[key][1] if key in self._reasons else ""
        # "preset for cards of 24 GB and more: kohya's example": a row has room for the second part only.
        return (why.partition(": ")[2] if why.startswith("preset ") else why), False

    def trouble(self, field: PlanField) -> Problem | None:
        """The problem to show beside a field; that it was not answered yet is none before the last page."""
        unanswered = field.required and field.key not in self.answers
        return None if unanswered else self.problem(field.key)

    def explain(self, field: PlanField) -> Texts:
        """Paragraphs about a field: help, bounds, where the value comes from, what is wrong with it."""
        bounds = ", ".join(part for part in (field.bounds_text, field.unit) if part)
        texts: Texts = [("text", f"{field.help} ({bounds})" if bounds else field.help)]
        problem = self.trouble(field)
        if problem is not None:
            said = "; ".join(part for part in (problem.what, problem.why, problem.fix) if part)
            texts.insert(0, ("error" if problem.level == "error" else "warn", said))
        elif field.key in self.answers:
            texts.append(("accent", "your value; empty it to have it derived again"))
        elif field.key in self._reasons:
            texts.append(("quiet", f"derived: {self._reasons[field.key][1]}"))
        elif field.required:
            texts.append(("accent", "needed: nothing can stand in for it"))
        return [*texts, ("quiet", field.key)]

    def what_is_missing(self) -> list[str]:
        """The errors as lines, for a message."""
        if not self.fresh:
            return ["The model and the pictures are still being looked at.", "Try again in a moment."]
        lines: list[str] = []
        for problem in self.errors[:4]:
            lines += [line for line in problem.text().splitlines() if line]
        more = len(self.errors) - 4
        return lines + ([f"... and {more} more, on the last page"] if more > 0 else [])

    def _catch_up(self) -> None:
        """Build and check once for all answers since the last time: a pasted path is many of them."""
        if self._behind:
            self._behind = False
            self._rebuild()

    def _rebuild(self) -> None:
        facts = self.facts
        if facts is None:
            return
        from engine.planning.build import build
        from engine.planning.check import check

        self._built = None
        problems = [*self._wrong.values(), *facts.problems]
        try:
            self._built = build(self.snapshot(), facts)
        except PlanErrors as error:
            problems += [problem for problem in error.problems if problem.key not in self._wrong]
        except UserError as error:
            problems.append(Problem("", error.what, error.why, error.fix))
        else:
            self._reasons = {item.key: (item.value, item.why) for item in self._built.derived}
            if facts.report is not None and facts.base is not None:
                problems += check(
                    self._built.plan,
                    report=facts.report,
                    base=facts.base,
                    here=facts.machine,
                    pair=lambda _report, _path: facts.pairs,  # found beside the screen: it may take seconds
                )
        self._problems = _unique(problems)


def validate(key: str, value: object) -> Problem | None:
    """What the field's own declaration has against a value."""
    from pydantic import BaseModel, ValidationError

    from engine.plan.schema import Plan

    model: type[BaseModel] = Plan
    *tables, name = key.split(".")
    for table in tables:
        annotation: Any = model.model_fields[table].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(item for item in options if isinstance(item, type) and issubclass(item, BaseModel))
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        for problem in from_validation(error, ()):
            if problem.key.split(".")[0] == name:
                return Problem(key, problem.what, problem.why, problem.fix.replace(name, key, 1))
    return None


def _unique(problems: list[Problem]) -> list[Problem]:
    seen: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        seen.setdefault((problem.key, problem.what), problem)
    return sorted(seen.values(), key=lambda problem: problem.level != "error")
