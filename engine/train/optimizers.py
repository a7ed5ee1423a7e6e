"""The optimiser and the learning rate, both functions of the plan and the step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from engine.methods.base import Trainable
from engine.plan.schema import Optimizer, Train


def schedule_factor(step: int, train: Train) -> float:
    """The factor of the learning rate at update `step` (1-based): warm-up, then the schedule."""
    if step <= train.warmup:
        return step / train.warmup
    span = max(1, train.steps - train.warmup)
    done = min(1.0, (step - 1 - train.warmup) / span)
    if train.schedule == "linear":
        return 1.0 - done
    if train.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def make_optimizer(
    trainables: Sequence[Trainable], train: Train, options: Optimizer
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a group a (rate, decay) pair, in a stable order.

    The fused kernel reads `found_inf` on the device, so a bad step is skipped without asking the host.
    """
    groups: dict[tuple[float, bool], list[Trainable]] = {}
    for item in trainables:
        rate = train.learning_rate if item.learning_rate is None else item.learning_rate
        groups.setdefault((rate, item.weight_decay), []).append(item)
    return torch.optim.AdamW(
        [
            {
                "params": [item.parameter for item in items],
                "lr": rate,
                "initial_lr": rate,
                "weight_decay": options.weight_decay if decay else 0.0,
            }
            for (rate, decay), items in groups.items()
        ],
        betas=(options.beta1, options.beta2),
        eps=options.epsilon,
        fused=True,
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Every group's rate at this factor; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
