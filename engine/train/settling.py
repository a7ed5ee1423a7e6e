"""The last stretch before the first update: what trains and what it needs goes to the device, thriftily where asked."""

from __future__ import annotations

import torch
from torch import nn

from engine.plan.schema import Plan
from engine.train.autoencoder import Warn, unheard
from engine.train.frozen_base import quantise_base
from engine.train.setup import AdaptedModel


def settle(plan: Plan, adapted: AdaptedModel, warn: Warn = unheard) -> None:
    """Once the caches are made: what every update needs goes to the device. `warn` hears what that changes."""
    offload, hardware, denoiser = adapted.offload, plan.hardware, adapted.family.denoiser
    if hardware.base_weights != "full":
        quantise_base(plan, adapted, warn)
    if adapted.device.type == "cuda" and hardware.channels_last:
        _channels_last(denoiser)
    offload.activations = hardware.offload_activations
    if hardware.swapped_blocks:
        offload.swap(adapted.family.blocks_to_swap(), hardware.swapped_blocks)
    for module in adapted.method.modules().values():
        module.to(adapted.device)
    for name, part in adapted.family.parts.items():
        if name not in adapted.idle.names:
            for value in offload.homeless(part):
                value.data = value.data.to(adapted.device)


def _channels_last(module: nn.Module) -> None:
    # The layout of convolutions that tensor cores like.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
