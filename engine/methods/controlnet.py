"""ControlNet: a trained copy of the denoiser's encoder that adds what a condition picture asks for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from engine.families.base import ModelFamily
from engine.methods.base import options_of
from engine.methods.condition_nets import Answer, ConditionNet, fill, fresh_convolutions, read_weights
from engine.models.keymap_controlnet import DIFFUSERS_MARK, LDM_MARK, LDM_PREFIX, controlnet_map
from engine.plan.methods.controlnet import ControlnetOptions
from engine.plan.schema import Plan


class Controlnet(ConditionNet):
    """Zhang et al. 2023 (arXiv:2302.05543). Every output is a zero convolution: the first prediction is the
    base model's own. The denoiser is frozen; only its decoder takes part in the backward pass."""

    name = "controlnet"

    def __init__(self, options: ControlnetOptions, seed: int, gradient_checkpointing: bool = False) -> None:
        super().__init__(seed)
        self.options = options
        self.gradient_checkpointing = gradient_checkpointing

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, ControlnetOptions)
        return cls(options, plan.seed, plan.hardware.gradient_checkpointing)

    def build(self, family: ModelFamily) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            net = family.new_controlnet(int(self.options.channels))
        embedding = cast(Any, net).controlnet_cond_embedding
        fresh_convolutions(embedding.conv_in, self.seed, f"{self.name}.conv_in")
        fresh_convolutions(embedding.blocks, self.seed, f"{self.name}.blocks")
        if self.options.start:
            path = Path(self.options.start).expanduser()
            weights = as_diffusers(
                read_weights(path, "controlnet.start"), family.configs[family.spec.denoiser]
            )
            fill(net, weights, "controlnet.start", str(path))
        if self.gradient_checkpointing:
            cast(Any, net).enable_gradient_checkpointing()
        return net

    def answer(self, family: ModelFamily, net: nn.Module) -> Answer:
        return partial(family.controlnet_residuals, net)


def as_diffusers(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A ControlNet's weights under diffusers' names, from those or LDM's (with or without their prefix)."""
    if DIFFUSERS_MARK in weights:
        return dict(weights)
    bare = {name.removeprefix(LDM_PREFIX): value for name, value in weights.items()}
    if LDM_MARK not in bare:
        return dict(weights)
    names = {theirs.removeprefix(LDM_PREFIX): ours for ours, theirs in controlnet_map(config).items()}
    return {names.get(name, name): value for name, value in bare.items()}
