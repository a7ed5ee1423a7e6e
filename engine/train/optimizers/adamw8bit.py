"""AdamW8bit of bitsandbytes."""

from __future__ import annotations

from typing import cast

import torch

from engine.plan.optimizers.adamw8bit import SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

# bitsandbytes waits for the device after every parameter, so reading the flag on the host costs nothing more.
skip: Skip = "host"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    made = package_of(SPEC).optim.AdamW8bit(list(groups), betas=betas(plan), eps=plan.optimizer.epsilon)
    return cast(torch.optim.Optimizer, made)
