"""Epochs in updates: a plan may say its length and its intervals in them, and steps follow from the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.dataset.report import DatasetReport
from engine.plan.schema import Plan
from engine.planning.data import draws_by_size

STEPS_OF: Mapping[str, str] = {
    "train.epochs": "train.steps",
    "samples.every_epochs": "samples.every",
    "checkpoints.every_epochs": "checkpoints.every",
    "validation.every_epochs": "validation.every",
}
"""Of each field in epochs the one in steps that follows from it."""


def asked(plan: Plan) -> dict[str, float]:
    """What the plan says in epochs, by key."""
    values = {
        "train.epochs": plan.train.epochs,
        "samples.every_epochs": plan.samples.every_epochs,
        "checkpoints.every_epochs": plan.checkpoints.every_epochs,
        "validation.every_epochs": plan.validation.every_epochs,
    }
    return {key: value for key, value in values.items() if value > 0}


def updates(plan: Plan, report: DatasetReport, epochs: float) -> int:
    """Updates after which that many epochs are seen, at least 1. Every batch is of one size of picture, so that an
    epoch has a batch more for each size that does not fill its last one; see `engine/dataset/loader.py`."""
    batches = sum(-(-count // plan.train.batch_size) for count in draws_by_size(plan, report).values())
    return max(1, math.ceil(epochs * batches / plan.train.gradient_accumulation - 1e-9))
