"""SOAP of the package pytorch-optimizer. Its first update only looks at the gradients and moves nothing."""

from __future__ import annotations

from typing import Any, cast

import torch

from engine.plan.optimizers.soap import LARGEST, SPEC
from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip, betas, package_of

# Finding the axes (eigh at the first update, QR at every tenth) waits for the device.
skip: Skip = "host"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    package = package_of(SPEC)

    class Contiguous(package.SOAP):  # type: ignore[misc, name-defined]
        """Its axes lie in memory as a checkpoint gives them back, so that products of them have the same bits."""

        @staticmethod
        def get_orthogonal_matrix(mat: Any) -> list[Any]:
            return _contiguous(package.SOAP.get_orthogonal_matrix(mat))

        def get_orthogonal_matrix_qr(self, *given: Any, **named: Any) -> list[Any]:
            return _contiguous(super().get_orthogonal_matrix_qr(*given, **named))

    made = Contiguous(
        list(groups), betas=betas(plan), eps=plan.optimizer.epsilon, max_precondition_dim=LARGEST
    )
    return cast(torch.optim.Optimizer, made)


def _contiguous(matrices: list[Any]) -> list[Any]:
    return [value.contiguous() if isinstance(value, torch.Tensor) else value for value in matrices]
