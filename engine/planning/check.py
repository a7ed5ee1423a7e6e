"""Everything that is wrong or doubtful about a plan, found at once and before torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.cost.machine import Machine, machine
from engine.dataset.pairs import Pairs, pair_up
from engine.dataset.report import DatasetReport
from engine.errors import UserError
from engine.models.bases import BaseInfo, locate
from engine.plan.problems import Problem
from engine.plan.schema import Plan
from engine.planning.data import scan_data
from engine.planning.rules import base as base_rules
from engine.planning.rules import (
    captions,
    class_pictures,
    data,
    hardware,
    masks,
    memory,
    method,
    objective,
    optimizers,
    prediction,
    sets,
    training,
    updates,
    validation,
)
from engine.planning.rules.context import Context, Rule

RULES: tuple[Rule, ...] = (
    *base_rules.RULES,
    *prediction.RULES,
    *data.RULES,
    *masks.RULES,
    *captions.RULES,
    *method.RULES,
    *class_pictures.RULES,
    *sets.RULES,
    *training.RULES,
    *objective.RULES,
    *optimizers.RULES,
    *updates.RULES,
    *validation.RULES,
    *hardware.RULES,
    *memory.RULES,
)


def check(
    plan: Plan,
    *,
    report: DatasetReport | None = None,
    base: BaseInfo | None = None,
    here: Machine | None = None,
    pair: Callable[[DatasetReport, str], Pairs | None] = pair_up,
    directory: Path | None = None,
) -> list[Problem]:
    """All problems, errors first, each group in the order of the rules.

    `report` and `base` save looking again where the caller has them; `here` stands for this machine.
    `pair` finds the conditions of pictures that come in pairs; a caller that has looked already gives that.
    `directory` is the folder that the run is to have, where it is not one below the runs' root.
    Reads headers of the pictures and of the base, and writes nothing.
    """
    problems: list[Problem] = []
    if base is None:
        try:
            base = locate(plan.base.model, allow_download=plan.base.allow_download)
        except UserError as error:
            problems.append(Problem("base.model", error.what, error.why, error.fix))
    if report is None and not any(side % 8 for side in plan.data.sides):
        report = scan_data(plan)
    context = Context(plan, report, base, machine() if here is None else here, pair, directory)
    for rule in RULES:
        problems += rule(context)
    return sorted(problems, key=lambda problem: problem.level != "error")


def errors_of(problems: list[Problem]) -> list[Problem]:
    """Only what stops a run."""
    return [problem for problem in problems if problem.level == "error"]
