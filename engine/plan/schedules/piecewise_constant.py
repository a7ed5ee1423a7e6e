"""A list of shares of the learning rate, each with the last update that it holds for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.plan.problems import Problem
from engine.plan.schedules.base import Schedule

if TYPE_CHECKING:
    from engine.plan.train import Train

EXAMPLE = '"1:500, 0.1:800, 0.01"'
KEY = "train.rate_steps"


def pieces(text: str) -> list[tuple[float, float]]:
    """(share, last update) in their order; the last may have no update and holds to the end. ValueError else."""
    found: list[tuple[float, float]] = []
    for part in text.split(","):
        share, colon, last = (word.strip() for word in part.partition(":"))
        found.append((_number(share), int(_number(last)) if colon else math.inf))
        if not 0 <= found[-1][0] < math.inf:
            raise ValueError(f"{share} is no share of the learning rate")
    ends = [0.0, *(end for _, end in found)]
    if any(after <= before for before, after in pairwise(ends)):
        raise ValueError("the updates have to rise, and only the last piece may have none")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number" if text else "a number is missing") from None


def _factor(done: int, span: int, train: Train) -> float:
    found = pieces(train.rate_steps)
    return next((share for share, last in found if train.warmup + done < last), found[-1][0])


def _problems(train: Train) -> Iterable[Problem]:
    fix = f"write shares of train.learning_rate and their last updates, such as {EXAMPLE}"
    if not train.rate_steps.strip():
        yield Problem(KEY, "is empty", "piecewise_constant takes its rates from it", fix)
        return
    try:
        found = pieces(train.rate_steps)
    except ValueError as error:
        yield Problem(KEY, f"{train.rate_steps!r} cannot be read", str(error), fix)
        return
    if (most := max(share for share, _ in found)) < 0.05:
        why = "they multiply train.learning_rate, and look like rates themselves"
        yield Problem(KEY, f"no share is above {most:g}", why, fix)


SCHEDULE = Schedule(
    "piecewise_constant",
    "steps of your own, in rate_steps",
    _factor,
    frozenset({"rate_steps"}),
    _problems,
)
