"""A prepared loop inside the test process, opened as the worker opens it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.dataset.report import DatasetReport
from engine.families.base import ModelFamily
from engine.plan.schema import Plan
from engine.train.loop import Loop, StepReport
from engine.train.opening import open_training
from engine.train.setup import AdaptedModel
from engine.train.watch import Watch
from engine.train.world import ALONE, World

CPU = torch.device("cpu")


def silent(text: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass
class Prepared:
    """Everything that a step needs."""

    plan: Plan
    adapted: AdaptedModel
    report: DatasetReport
    feed: Any
    loop: Loop
    warnings: list[str]


class Warnings(Watch):
    """Keeps the codes of warnings."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def warning(self, code: str, text: str) -> None:
        self.codes.append(code)


def prepared(plan: Plan, cache: Path, family: ModelFamily | None = None, world: World = ALONE) -> Prepared:
    """Load, scan, cache and build the loop for a plan on the CPU; `family` stands in for the plan's base."""
    torch.set_num_threads(1)
    watch = Warnings()
    plan = plan.model_copy(update={"hardware": plan.hardware.model_copy(update={"device": "cpu"})})
    made = open_training(plan, watch=watch, cache=cache, family=family, checked=True, world=world)
    return Prepared(plan, made.adapted, made.data, made.feed, made.loop, watch.codes)


def run_steps(made: Prepared, start: int = 0, until: int | None = None) -> list[StepReport]:
    """Reports of updates start+1 to `until` (default: the plan's last)."""
    last = until or made.plan.train.steps
    found: list[StepReport] = []
    for group in made.loop.run(start, lambda step: True):
        found += group
        if found[-1].step >= last:
            break
    return found


def weights(made: Prepared) -> dict[str, torch.Tensor]:
    """Copies of everything that trains."""
    return {item.name: item.parameter.detach().clone() for item in made.adapted.trainables}
