"""What a run's validations have come to: the best step, and since when there was no better one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.plan.schema import Plan
from engine.run import kinds
from engine.run.jsonl import select

PAST_BEST: Final = "past-best"
"""The code of the warning that there was no better step for long; a run says it once."""
STOPPED_EARLY: Final = "stopped-early"
"""The code of the warning that a run ends because of that."""


@dataclass
class History:
    """The steps that were validated, rising, with their losses; those that are not finite never are the best."""

    losses: dict[int, float] = field(default_factory=dict)

    def add(self, step: int, loss: float) -> None:
        """One more; of a step that was validated before the last measure counts."""
        self.losses.pop(step, None)
        self.losses[step] = loss

    def forget_after(self, step: int) -> None:
        """What comes after this step is going to be measured again."""
        self.losses = {at: loss for at, loss in self.losses.items() if at <= step}

    @property
    def best(self) -> tuple[int, float] | None:
        """The step of the lowest loss, the earliest of equal ones, and that loss."""
        finite = [(loss, step) for step, loss in self.losses.items() if math.isfinite(loss)]
        if not finite:
            return None
        loss, step = min(finite)
        return step, loss

    def kept(self, plan: Plan) -> frozenset[int]:
        """The steps whose checkpoints stay whatever `checkpoints.keep` says."""
        best = self.best
        return frozenset({best[0]} if best is not None and plan.validation.keep_best else ())

    @property
    def since_best(self) -> int:
        """How many validations came after the best one."""
        best = self.best
        return 0 if best is None else sum(step > best[0] for step in self.losses)


@dataclass
class ToldValidations:
    """What a run's events have told up to a step; `here` is whether that step was validated, `warned` has the
    codes of the warnings that came of validations."""

    history: History
    here: bool = False
    warned: set[str] = field(default_factory=set)


def told_in(events_file: Path, step: int) -> ToldValidations:
    """What counts of it: nothing that an attempt told which went on from an earlier step afterwards."""
    told = ToldValidations(History())
    for record in select(
        events_file, {each.kind for each in (kinds.Validation, kinds.Warned, kinds.Resumed, kinds.Started)}
    ):
        kind = record["kind"]
        if kind == kinds.Warned.kind:
            told.warned |= {PAST_BEST, STOPPED_EARLY} & {record.get("code")}
        elif kind == kinds.Started.kind:
            told = told if kinds.Started.read(record).resumed else ToldValidations(History())
        elif kind == kinds.Resumed.kind:
            first = kinds.Resumed.read(record).from_step or 0
            told.history.forget_after(first)
            told.here = told.here and first >= step
        else:
            found = kinds.Validation.read(record)
            told.here = told.here or found.step == step
            if not found.error:
                told.history.add(found.step, found.loss)
    told.history.forget_after(step)
    return told
