"""Adafactor as transformers has it, with the plan's own learning rate and no first moment.

torch's own reads a norm on the host for every parameter of every step, and scales the learning rate by the weights'
size; transformers' does neither when told so, as the published recipes for SDXL do.
"""

from __future__ import annotations

from typing import cast

import torch

from engine.plan.schema import Plan
from engine.train.optimizers.base import Groups, Skip

skip: Skip = "restore"


def build(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    made = Adafactor(list(groups), relative_step=False, scale_parameter=False, warmup_init=False)
    return cast(torch.optim.Optimizer, made)
