"""CAME of the package pytorch-optimizer, with the third decay of its authors."""

from __future__ import annotations

from typing import cast

import torch

from engine.plan.optimizers.came import SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

skip: Skip = "restore"
BETA3 = 0.9999


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return cast(torch.optim.Optimizer, package_of(SPEC).CAME(list(groups), betas=(*betas(plan), BETA3)))
