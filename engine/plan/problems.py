"""Everything that is wrong with a plan, all at once, each with its key, reason and fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ValidationError

from engine.errors import UserError
from engine.plan import other_tools

MOST = 40
"""Problems of one plan that are told one by one."""

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing to look at: an error stops a run, a warning does not."""

    key: str
    what: str
    why: str = ""
    fix: str = ""
    level: Level = "error"

    def text(self) -> str:
        """One readable paragraph."""
        parts = [f"{self.level}: {self.key}: {self.what}" if self.key else f"{self.level}: {self.what}"]
        parts += [f"  why: {self.why}"] if self.why else []
        parts += [f"  fix: {self.fix}"] if self.fix else []
        return "\n".join(parts)

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def warning(key: str, what: str, why: str = "", fix: str = "") -> Problem:
    """A problem that does not stop the run."""
    return Problem(key, what, why, fix, "warning")


NAMED = 3
"""Problems that `why` and `fix` of PlanErrors name, where there is no room for all."""


class PlanErrors(UserError):
    """A plan that cannot be read; carries every problem found."""

    def __init__(self, problems: list[Problem], where: str = "the plan") -> None:
        count = len(problems)
        named = [f"{problem.key}: {problem.what}" if problem.key else problem.what for problem in problems]
        more = f"; and {count - NAMED} more" if count > NAMED else ""
        fixes = [
            f"{problem.key}: {problem.fix}" if problem.key else problem.fix
            for problem in problems
            if problem.fix
        ]
        super().__init__(
            f"{where} has {count} problem{'s' if count > 1 else ''}",
            "; ".join(named[:NAMED]) + more,
            "; ".join(fixes[:NAMED]),
        )
        self.problems = problems

    def lines(self) -> list[str]:
        return [self.what, *(problem.text() for problem in self.problems)]


def from_validation(error: ValidationError, known: Iterable[str], method: str = "") -> list[Problem]:
    """The problems behind a pydantic error, MOST at most.

    `known` are all keys of the method's plan, for suggestions.
    """
    keys = list(known)
    items = error.errors(include_url=False)
    problems = [_problem(dict(item), keys, method) for item in items[:MOST]]
    if len(items) > MOST:
        problems.append(Problem("", f"{len(items) - MOST:,} more problems", "", "mend these first"))
    return problems


def _problem(item: dict[str, Any], keys: list[str], method: str) -> Problem:
    key = ".".join(str(part) for part in item["loc"])
    key = key if len(key) <= 120 else f"{key[:117]}..."
    kind, value = str(item["type"]), item.get("input")
    context = item.get("ctx", {})
    if kind == "extra_forbidden":
        tables = {name.rpartition(".")[0] for name in keys} - {""}
        close = difflib.get_close_matches(key, [*keys, *sorted(tables)], n=1, cutoff=0.6)
        table = key.rpartition(".")[0]
        inside = [name for name in keys if name.rpartition(".")[0] == table]
        inside = inside if table else sorted({name.split(".")[0] for name in keys})
        fix = f"did you mean {close[0]}?" if close else f"known here: {', '.join(inside) or 'nothing'}"
        fix = other_tools.for_key(key, method, keys) or fix
        return Problem(key, "no such key", "a plan only has keys that the engine reads", fix)
    if kind == "missing":
        return Problem(key, "is missing", "there is no default for it", f"add {key} to the plan")
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        choices = expected.replace("'", '"')
        fix = other_tools.for_value(key, value, choices) or _closest(value, expected)
        return Problem(key, f"{shown(value)} is not a choice", f"it must be {expected}", fix)
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        sign = {"greater_than_equal": "at least", "greater_than": "more than"}.get(kind)
        sign = sign or {"less_than_equal": "at most", "less_than": "less than"}[kind]
        bound = next(iter(context.values()))
        return Problem(
            key,
            f"{shown(value)} is out of range",
            f"it must be {sign} {bound}",
            f"set {key} within the range",
        )
    if kind == "string_pattern_mismatch":
        return Problem(
            key, f"{shown(value)} has a form that is not allowed", _pattern_reason(key), f"change {key}"
        )
    reason = _KINDS.get(kind, str(item["msg"]))
    return Problem(key, f"{shown(value)} is not right here", reason, f"see `sdtrain schema` for {key}")


_KINDS = {
    "int_type": "it must be a whole number",
    "float_type": "it must be a number",
    "bool_type": "it must be true or false",
    "string_type": "it must be a text in quotes",
    "list_type": "it must be a list in brackets",
    "dict_type": "it must be a table",
    "model_type": "it must be a table",
    "finite_number": "it must be a finite number",
}


def shown(value: object) -> str:
    """A value as a message shows it, shortened; what has no short form is named by its kind."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list in a list in a list
        return f"a value of kind {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _closest(value: object, expected: str) -> str:
    names = [part.strip(" '\"") for part in expected.replace(" or ", ",").split(",")]
    if isinstance(value, int) and all(name.isdigit() for name in names):
        return f"set {min(names, key=lambda name: abs(int(name) - value))}"
    close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(names)}"


def _pattern_reason(key: str) -> str:
    if key == "name":
        return "a name becomes a folder and file: letters, digits, dot, dash and underscore, 80 at most"
    if key.endswith(".path"):
        return "a set lies in a folder"
    return "the device is auto, cpu, cuda or cuda:N: one device, by its number"
