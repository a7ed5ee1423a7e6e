"""Prodigy of the package prodigyopt, its authors' own."""

from __future__ import annotations

from typing import Any

import torch

from engine.plan.optimizers.prodigy import SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

# Its update reads two sums a parameter on the host, so reading the flag there costs nothing more.
skip: Skip = "host"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    package = package_of(SPEC)

    class ForEachRate(package.Prodigy):  # type: ignore[misc, name-defined]
        """One estimate for all groups of one learning rate, as prodigyopt refuses groups that differ."""

        def step(self, closure: Any = None) -> Any:
            groups: list[dict[str, Any]] = self.param_groups  # type: ignore[has-type]
            try:
                for rate in dict.fromkeys(group["initial_lr"] for group in groups):
                    self.param_groups = [group for group in groups if group["initial_lr"] == rate]
                    super().step(closure)
            finally:
                self.param_groups = groups

    made: torch.optim.Optimizer = ForEachRate(
        list(groups),
        betas=betas(plan),
        eps=plan.optimizer.epsilon,
        decouple=True,
        use_bias_correction=True,
        # As its authors advise where the learning rate rises from 0.
        safeguard_warmup=plan.train.warmup > 0,
    )
    return made
