"""What the loop asks of an optimiser's file: how it is built, and how an update of it can be skipped."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, Protocol

import torch

from engine.errors import UserError
from engine.installing import pip_install
from engine.plan.optimizers import OptimizerSpec
from engine.plan.schema import Plan

Groups = Sequence[dict[str, Any]]
"""Parameter groups: params, lr, initial_lr, weight_decay."""

Skip = Literal["found_inf", "restore", "host"]
"""How an update that is not finite is skipped on CUDA: the fused kernel reads the flag itself; weights and state are
put back on the device, a parameter at a time; or the host reads the flag, for an optimiser whose update waits for
the device anyway."""


class Builder(Protocol):
    """A module of this folder, or another that a row of `engine.plan.optimizers` names.

    A module may have `narrow` too, the names of states that lie in bf16 between two updates (see `rounding`).
    """

    skip: Skip

    def build(self, groups: Groups, plan: Plan) -> torch.optim.Optimizer:
        """The optimiser; UserError where a package that it needs is missing."""
        ...


def package_of(spec: OptimizerSpec) -> Any:
    """The module of the package that a row needs, or UserError with the command that installs it."""
    try:
        return import_module(spec.package)
    except ImportError as error:
        what = f"optimizer.name: {spec.title} needs the package {spec.package}"
        raise UserError(what, "", pip_install(spec.requirement)) from error


def betas(plan: Plan) -> tuple[float, float]:
    """The plan's decays of the gradient's mean and square."""
    return plan.optimizer.beta1, plan.optimizer.beta2
