"""AdamWScheduleFree of the package schedulefree, its authors' own.

The warm-up is the loop's: the optimiser weighs its average by the highest rate so far, wherever that comes from.
"""

from __future__ import annotations

from typing import cast

import torch

from engine.plan.optimizers.schedule_free import SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

skip: Skip = "restore"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    made = package_of(SPEC).AdamWScheduleFree(list(groups), betas=betas(plan), eps=plan.optimizer.epsilon)
    return cast(torch.optim.Optimizer, made)
