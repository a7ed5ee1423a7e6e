"""From a few answers to a whole plan: preset, then what follows from the facts, then what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.dataset.scan import scan
from engine.errors import UserError
from engine.plan.bases import locate
from engine.plan.derive import RULES, Derived, Draft, Facts, flatten, nested
from engine.plan.files import from_dict, resolve
from engine.plan.machine import Machine, machine
from engine.plan.problems import Problem
from engine.plan.schema import Plan

__all__ = ["Built", "Derived", "Facts", "build", "gather"]


@dataclass(frozen=True)
class Built:
    """A plan, and every value in it that does not come from the answers or the schema's defaults."""

    plan: Plan
    derived: tuple[Derived, ...]


def gather(answers: Mapping[str, object], here: Machine | None = None) -> Facts:
    """Look at the base, the folder and the machine that the answers name; reads headers only.

    A base that cannot be found is a problem in the facts; what is wrong with the folder is in its report.
    """
    given = flatten(answers)
    here = machine() if here is None else here
    model, folder = given.get("base.model"), given.get("data.path")
    allow = given.get("base.allow_download") is True
    base, problems = None, []
    if isinstance(model, str):
        try:
            base = locate(model, allow_download=allow)
        except UserError as error:
            problems.append(Problem("base.model", error.what, error.why, error.fix))
    side = given.get("data.resolution", base.native_resolution if base else 512)
    report = None
    if isinstance(folder, str) and folder and isinstance(side, int) and side >= 32 and side % 8 == 0:
        report = scan(
            Path(folder).expanduser(),
            resolution=side,
            trigger=str(given.get("data.trigger", "")),
            bucket=given.get("data.bucket", True) is True,
            recursive=given.get("data.recursive", True) is True,
        )
    gpu = here.gpu_for(str(given.get("hardware.device", "auto")))
    return Facts(report, base, gpu.gigabytes if gpu else None, here.gpus, here, tuple(problems))


def build(answers: Mapping[str, object], facts: Facts) -> Built:
    """The plan for these answers (dotted keys, or nested tables) and facts.

    The same answers and facts give the same text, byte for byte. Paths become absolute. PlanErrors names every
    answer that does not fit the schema.
    """
    given = flatten(answers)
    draft = Draft(given, facts)
    for rule in RULES:
        for derived in rule(draft):
            draft.take(derived)
    plan = resolve(from_dict(nested(draft.values)), Path.cwd())
    return Built(plan, tuple(draft.derived.values()))
