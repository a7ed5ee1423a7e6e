"""The optimiser and the learning rate, both functions of the plan and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

import torch

from engine.methods.base import Trainable
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schedules import SCHEDULES
from engine.plan.schema import Plan
from engine.plan.train import Train
from engine.train.optimizers.base import Builder
from engine.train.optimizers.rounding import Narrow
from engine.train.optimizers.update import Update, make_update


def schedule_factor(step: int, train: Train) -> float:
    """The factor of the learning rate at update `step`, 1 to train.steps: warm-up, then the schedule."""
    if step <= train.warmup:
        return step / train.warmup
    done, span = step - 1 - train.warmup, train.steps - train.warmup
    return SCHEDULES[train.schedule].factor(done, span, train)


def make_optimizer(trainables: Sequence[Trainable], plan: Plan) -> torch.optim.Optimizer:
    """The plan's optimiser with a group a (learning rate, decay) pair, in a stable order."""
    groups: dict[tuple[float, bool], list[Trainable]] = {}
    for item in trainables:
        rate = plan.train.learning_rate if item.learning_rate is None else item.learning_rate
        groups.setdefault((rate, item.weight_decay), []).append(item)
    return _builder(plan).build(
        [
            {
                "params": [item.parameter for item in items],
                "lr": rate,
                "initial_lr": rate,
                "weight_decay": plan.optimizer.weight_decay if decay else 0.0,
            }
            for (rate, decay), items in groups.items()
        ],
        plan,
    )


def update_of(optimizer: torch.optim.Optimizer, plan: Plan, device: torch.device) -> Update:
    """How the plan's optimiser moves the weights on this device, or leaves everything as it is."""
    builder = _builder(plan)
    states: frozenset[str] = getattr(builder, "narrow", frozenset())
    narrow = None
    if states or plan.train.weights == "bf16":
        parameters = [value for group in optimizer.param_groups for value in group["params"]]
        narrow = Narrow(optimizer, parameters, states, plan.seed)
    return make_update(optimizer, builder.skip, device, narrow)


def _builder(plan: Plan) -> Builder:
    return cast(Builder, import_module(OPTIMIZERS[plan.optimizer.name].builder))


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Every group's rate at this factor; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
