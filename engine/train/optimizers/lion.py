"""Lion (Chen et al., arXiv:2302.06675, algorithm 2), which needs no package."""

from __future__ import annotations

from typing import Any

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas

skip: Skip = "restore"


class Lion(torch.optim.Optimizer):
    """Moves every weight by the learning rate, in the direction of a mean of gradient and moment."""

    def __init__(self, groups: Groups, betas: tuple[float, float]) -> None:
        super().__init__(list(groups), {"lr": 1e-4, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            given = [value for value in group["params"] if value.grad is not None]
            for value in given:
                if not self.state[value]:
                    self.state[value]["exp_avg"] = torch.zeros_like(value)
            if given:
                self._step(given, group)

    def _step(self, given: list[torch.Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [value.grad for value in given if value.grad is not None]
        moments = [self.state[value]["exp_avg"] for value in given]
        torch._foreach_mul_(given, 1 - group["lr"] * group["weight_decay"])
        changes = torch._foreach_lerp(moments, gradients, 1 - beta1)
        torch._foreach_sign_(changes)
        torch._foreach_add_(given, changes, alpha=-group["lr"])
        torch._foreach_lerp_(moments, gradients, 1 - beta2)


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return Lion(groups, betas(plan))
