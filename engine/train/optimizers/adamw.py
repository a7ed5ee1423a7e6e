"""torch's fused AdamW, which reads `found_inf` on the device: the host never waits to skip an update."""

from __future__ import annotations

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip

skip: Skip = "found_inf"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    betas = (plan.optimizer.beta1, plan.optimizer.beta2)
    return torch.optim.AdamW(list(groups), betas=betas, eps=plan.optimizer.epsilon, fused=True)
