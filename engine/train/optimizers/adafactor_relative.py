"""Adafactor as transformers has it, with the rate of its authors times the plan's."""

from __future__ import annotations

from typing import Any, cast

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip

# It scales a parameter's rate by the size of its weights, which it reads on the host.
skip: Skip = "host"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    class Relative(Adafactor):  # type: ignore[misc]
        """Its own rate knows no schedule and no second rate; the group's is multiplied in."""

        @staticmethod
        def _get_lr(group: dict[str, Any], state: dict[str, Any]) -> Any:
            return group["lr"] * Adafactor._get_lr({**group, "lr": None}, state)

    # With a warm-up the rate starts at 1e-6 and rises by it at each update, as its authors' does.
    made = Relative(list(groups), lr=None, relative_step=True, warmup_init=plan.train.warmup > 0)
    return cast(torch.optim.Optimizer, made)
