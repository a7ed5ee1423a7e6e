"""A prepared loop inside the test process, put together as the worker does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.dataset.report import DatasetReport
from engine.dataset.scan import scan
from engine.families.base import ModelFamily
from engine.plan.schema import Plan
from engine.train.feeding import make_feed
from engine.train.loop import Loop, StepReport
from engine.train.setup import AdaptedModel, load_plan_family, prepare
from engine.worker.class_pictures import class_items

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


def prepared(plan: Plan, cache: Path, family: ModelFamily | None = None) -> Prepared:
    """Load, scan, cache and build the loop for a plan on the CPU; `family` stands in for the plan's base."""
    torch.set_num_threads(1)
    data = plan.data
    report = scan(Path(data.path), resolution=data.resolution, trigger=data.trigger, bucket=data.bucket)
    adapted = prepare(plan, family or load_plan_family(plan), CPU)
    prior = class_items(plan, CPU, cache, silent)
    feed: Any = make_feed(plan, adapted, report, cache, silent, prior)
    warnings: list[str] = []
    loop = Loop(
        plan,
        adapted.family,
        adapted.method,
        adapted.trainables,
        feed,
        CPU,
        adapted.autocast,
        lambda code, text: warnings.append(code),
    )
    return Prepared(plan, adapted, report, feed, loop, warnings)


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
