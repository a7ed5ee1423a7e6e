"""An optimiser with every kind of state at once: bytes, lists, numbers of a group, a counter, and two modes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip

skip: Skip = "restore"


class Odd(torch.optim.Optimizer):
    """Sign descent with a moment in 8 bits; in eval mode the weights are a running average (Schedule-Free's idea)."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(list(groups), {"lr": 1e-3, "weight_sum": 0.0, "train_mode": True})

    def eval(self) -> None:
        self._swap(False)

    def train(self) -> None:
        self._swap(True)

    @torch.no_grad()
    def _swap(self, train: bool) -> None:
        for group in self.param_groups:
            if group["train_mode"] != train:
                for parameter in group["params"]:
                    if state := self.state.get(parameter):
                        own = parameter.clone()
                        parameter.copy_(state["average"])
                        state["average"].copy_(own)
            group["train_mode"] = train

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["weight_sum"] += group["lr"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._one(parameter, parameter.grad, self.state[parameter], group)

    def _one(self, parameter: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["count"] = 0
            state["moment"] = torch.full_like(parameter, 128, dtype=torch.uint8)
            state["factors"] = [torch.zeros(parameter.shape[0]), {"last": torch.zeros(())}]
            state["average"] = parameter.clone()
        state["count"] += 1
        state["moment"].copy_((state["moment"].float() * 0.9 + 12.8 + 5 * grad.sign()).to(torch.uint8))
        state["factors"][0].add_(grad.reshape(len(grad), -1).sum(1))
        state["factors"][1]["last"] = grad.norm() / state["count"]
        parameter.add_((state["moment"].float() - 128).sign(), alpha=-group["lr"])
        state["average"].lerp_(parameter, group["lr"] / group["weight_sum"])


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return Odd(groups)
