"""torch's fused AdamW, which reads `found_inf` on the device: the host never waits to skip an update."""

from __future__ import annotations

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas

skip: Skip = "found_inf"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(list(groups), betas=betas(plan), eps=plan.optimizer.epsilon, fused=True)
