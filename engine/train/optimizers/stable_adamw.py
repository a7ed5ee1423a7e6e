"""StableAdamW of the package pytorch-optimizer."""

from __future__ import annotations

from typing import cast

import torch

from engine.plan.optimizers.stable_adamw import SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

skip: Skip = "restore"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    # Its sums that make up for rounding are for weights in 16 bit, which are widened before they come here.
    made = package_of(SPEC).StableAdamW(
        list(groups), betas=betas(plan), eps=plan.optimizer.epsilon, kahan_sum=False
    )
    return cast(torch.optim.Optimizer, made)
