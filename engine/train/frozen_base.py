"""The frozen denoiser in fewer bits: quantised on its way to the device, and its drift measured and told."""

from __future__ import annotations

import contextlib

import torch

from engine.plan.schema import Plan
from engine.plan.units import size_text
from engine.train.autoencoder import Warn
from engine.train.drift import Drift, distance
from engine.train.quantised import QuantisedLinear, quantise
from engine.train.setup import AdaptedModel

ROLES = ("attention", "ff")
"""Kinds of layers that are quantised: convolutions, norms and the embeddings of time and sizes stay as they are."""


def quantise_base(plan: Plan, adapted: AdaptedModel, warn: Warn) -> float | None:
    """Move the denoiser to the device and keep its frozen linear layers in hardware.base_weights.

    Returns how far that moves its predictions (`distance`), none where the denoiser did not fit the device whole.
    """
    family, device, kind = adapted.family, adapted.device, plan.hardware.base_weights

    def autocast() -> contextlib.AbstractContextManager[object]:
        if adapted.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=adapted.autocast)

    with adapted.idle.here(*family.spec.text_parts):
        asked = Drift(family, plan.data.resolution, device, autocast)
    try:
        family.denoiser.to(device)
        before = asked.answers()
    except torch.OutOfMemoryError:
        before = None
    if before is None:
        family.denoiser.to("cpu")
        torch.cuda.empty_cache()
    config = family.configs[family.spec.denoiser]
    layers = [layer.path for layer in family.spec.layers(config) if layer.role in ROLES]
    count = quantise(family.denoiser, layers, kind)
    family.denoiser.to(device)
    moved = None if before is None else distance(before, asked.answers())
    warn("quantised-base", _told(adapted, kind, count, moved))
    return moved


def _told(adapted: AdaptedModel, kind: str, count: int, moved: float | None) -> str:
    own = [layer for layer in adapted.family.denoiser.modules() if isinstance(layer, QuantisedLinear)]
    size = sum(value.numel() * value.element_size() for layer in own for value in layer.buffers())
    full = count * (4 if adapted.precision == "fp32" else 2)
    text = (
        f"{count / 1e6:.1f} M frozen weights are kept in {kind}: {size_text(size)} and not {size_text(full)}"
    )
    if moved is None:
        return f"{text}; what that does to predictions was not measured, as the whole denoiser does not fit"
    return f"{text}; predictions differ by {moved:.2%} from those in {adapted.precision}"
