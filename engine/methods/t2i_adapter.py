"""T2I-Adapter: a small network that adds features of a condition picture to the denoiser's encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from engine.draws import keyed
from engine.families.base import ModelFamily
from engine.methods.base import options_of
from engine.methods.condition_nets import Answer, ConditionNet, fill, read_weights
from engine.models.keymap_adapter import tencent
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.schema import Plan

KEY = "t2i_adapter.start"


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
            net = family.new_t2i_adapter(self.options.kind, int(self.options.channels))
        if self.options.start:
            path = Path(self.options.start).expanduser()
            fill(net, as_diffusers(read_weights(path, KEY), net), KEY, str(path))
        return net

    def answer(self, family: ModelFamily, net: nn.Module) -> Answer:
        return lambda noisy, timesteps, cond, control: family.t2i_residuals(net, control)


def as_diffusers(weights: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """An adapter's weights under the network's own names, from those or TencentARC's."""
    own = net.state_dict()
    config = cast(Any, net).config
    light, blocks = config["adapter_type"] == "light_adapter", int(config["num_res_blocks"])
    names = {tencent(name, light, blocks): name for name in own}
    # Where all of the names are known they say which layout it is; `fill` names what is wrong with others.
    return (
        {names[name]: value for name, value in weights.items()}
        if names.keys() == weights.keys()
        else dict(weights)
    )
