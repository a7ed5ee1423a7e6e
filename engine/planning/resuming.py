"""A plan of a run that goes on with other values: those that change nothing of what was learned so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import UserError
from engine.plan.files import from_dict, path_keys, to_dict
from engine.plan.overrides import apply_sets, parse_set
from engine.plan.problems import shown
from engine.plan.schedules import SCHEDULES
from engine.plan.schema import Plan, plan_fields

MOVED = "the same files in another place"


@dataclass(frozen=True)
class Change:
    """One field that is another one from here on, and why that may be."""

    key: str
    before: object
    after: object
    because: str

    def text(self) -> str:
        """For people."""
        return f"{self.key} = {shown(self.after)} (was {shown(self.before)}): {self.because}"


def changeable(method: str) -> dict[str, str]:
    """The fields of a method's plan that may be others when a run goes on, by key, with the reason."""
    own = {field.key: field.on_resume for field in plan_fields(method) if field.on_resume}
    return own | dict.fromkeys(path_keys(method), MOVED)


def changed(plan: Plan, sets: Sequence[str], done: int) -> tuple[Plan, list[Change]]:
    """The plan with each KEY=VALUE, of a run that has done so many updates, and what that changes.

    PlanErrors for values that no plan has; UserError for a field that may not change, by name.
    """
    new = from_dict(apply_sets(to_dict(plan), list(sets)))
    allowed = changeable(plan.method)
    changes = []
    for key in dict.fromkeys(parse_set(item)[0] for item in sets):
        before, after = value_of(plan, key), value_of(new, key)
        if before == after:
            continue
        if key not in allowed or (allowed[key] == MOVED and not (before and after)):
            raise UserError(
                f"{key} cannot change while a run goes on",
                f"what was learned with {shown(before)} would go by the name of {shown(after)}; only these may: "
                + ", ".join(sorted(allowed)),
                f"start a new run: sdtrain new with --set {key}={after}",
            )
        changes.append(Change(key, before, after, allowed[key]))
    if new.train.steps < done:
        raise UserError(
            f"train.steps = {new.train.steps:,} is less than the run has done",
            f"it is saved at step {done:,}",
            f"give {done:,} or more, or export that checkpoint as it is",
        )
    return new, changes


def stretched(plan: Plan, new: Plan, done: int) -> str:
    """What another length does to the learning rates; nothing where those of the updates so far would be the same."""
    if done < 1 or _factor(plan, done) == _factor(new, done):
        return ""
    following = min(done + 1, new.train.steps)
    return (
        f"the schedule {new.train.schedule} now ends at step {new.train.steps:,}: step {following:,} has "
        f"{_factor(new, following):.3g} times learning_rate, after {_factor(plan, done):.3g} at step {done:,}"
    )


def _factor(plan: Plan, step: int) -> float:
    """What the schedule multiplies the rate of update `step` (1-based) by, after the warm-up."""
    train = plan.train
    span = max(1, train.steps - train.warmup)
    past = step - 1 - train.warmup
    return SCHEDULES[train.schedule].factor(min(past, span - 1), span, train) if past >= 0 else 1.0


def value_of(plan: Plan, key: str) -> object:
    """The value under a dotted key."""
    value: object = plan
    for name in key.split("."):
        value = getattr(value, name)
    return value
