"""T2I-Adapter: a small network that adds features of a condition picture to the denoiser's encoder."""

from __future__ import annotations

from typing import Self

from torch import nn

from engine.draws import keyed
from engine.families.base import ModelFamily
from engine.methods.base import options_of
from engine.methods.condition_nets import Answer, ConditionNet
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.schema import Plan


class T2iAdapter(ConditionNet):
    """Mou et al. 2023 (arXiv:2302.08453). The features do not depend on the timestep; the denoiser is frozen."""

    name = "t2i_adapter"

    def __init__(self, options: T2iAdapterOptions, seed: int) -> None:
        super().__init__(seed)
        self.options = options

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, T2iAdapterOptions)
        return cls(options, plan.seed)

    def build(self, family: ModelFamily) -> nn.Module:
        # torch's own law. He's, made for nets without shortcuts, would triple the variance with every residual block:
        # at full size features of 100 and more, where the denoiser's own are about 1.
        with keyed(self.seed, "init", self.name):
            return family.new_t2i_adapter(self.options.kind, int(self.options.channels))

    def answer(self, family: ModelFamily, net: nn.Module) -> Answer:
        return lambda noisy, timesteps, cond, control: family.t2i_residuals(net, control)
