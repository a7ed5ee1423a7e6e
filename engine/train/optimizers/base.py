"""What the loop asks of an optimiser's file: how it is built, and how an update of it can be skipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch

from engine.plan.schema import Plan

Groups = Sequence[dict[str, Any]]
"""Parameter groups: params, lr, initial_lr, weight_decay."""

Skip = Literal["found_inf", "restore", "host"]
"""How an update that is not finite is skipped on CUDA: the fused kernel reads the flag itself; weights and state are
put back on the device, a parameter at a time; or the host reads the flag, for an optimiser whose update waits for
the device anyway."""


class Builder(Protocol):
    """A module of this folder, or another that a row of `engine.plan.optimizers` names."""

    skip: Skip

    def build(self, groups: Groups, plan: Plan) -> torch.optim.Optimizer:
        """The optimiser; UserError where a package that it needs is missing."""
        ...
