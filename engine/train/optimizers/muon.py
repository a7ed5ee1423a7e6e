"""torch's Muon for matrices and its fused AdamW for everything else, behind one optimiser."""

from __future__ import annotations

from typing import Any

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas

skip: Skip = "restore"


class MuonAndAdamW(torch.optim.Optimizer):
    """Both step the groups that are theirs and share the state of this one."""

    def __init__(self, groups: Groups, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(_by_shape(groups), {"lr": 1e-3, "weight_decay": 0.0, "matrix": False})
        place = torch.nn.Parameter(torch.zeros(1, 1))
        muon = torch.optim.Muon([place], adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW([place], betas=betas, eps=epsilon, fused=True)
        muon.state = adamw.state = self.state
        self._inner: tuple[tuple[torch.optim.Optimizer, bool], ...] = ((muon, True), (adamw, False))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for inner, matrix in self._inner:
            own = [group for group in self.param_groups if group["matrix"] == matrix]
            inner.param_groups = [{**inner.defaults, **group} for group in own]
            if own:
                inner.step()


def _by_shape(groups: Groups) -> list[dict[str, Any]]:
    """Each group as one of matrices and one of what has another shape."""
    split: list[dict[str, Any]] = []
    for group in groups:
        for matrix in (True, False):
            own = [value for value in group["params"] if (value.ndim == 2) == matrix]
            if own:
                split.append({**group, "params": own, "matrix": matrix})
    return split


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return MuonAndAdamW(groups, betas(plan), plan.optimizer.epsilon)
