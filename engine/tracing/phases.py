"""Traces the VAE at work: pictures are encoded, previews decoded."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from engine.cost.traced_step import Moment
from engine.tracing.autocast import CudaAutocast
from engine.tracing.counting import Counter
from engine.tracing.moments import peaks
from engine.tracing.step import META, Sides
from engine.train.setup import AdaptedModel


def trace_encoding(adapted: AdaptedModel, sides: Sides) -> list[Moment]:
    """Pictures become latents, in fp32."""
    down = adapted.family.spec.downscale
    pixels = torch.empty(sides.batch, 3, sides.height * down, sides.width * down, device=META)
    return _peaks(adapted, "encode", pixels)


def trace_decoding(adapted: AdaptedModel, sides: Sides) -> list[Moment]:
    """Latents become pictures, in fp32: the most that a preview takes, as the denoiser keeps nothing for a backward
    pass."""
    channels = adapted.family.spec.latent_channels
    return _peaks(
        adapted, "decode", torch.empty(sides.batch, channels, sides.height, sides.width, device=META)
    )


@torch.no_grad()
def _peaks(adapted: AdaptedModel, call: str, given: Tensor) -> list[Moment]:
    vae, counter = adapted.family.parts["vae"], Counter()
    counter.expect((*vae.parameters(), *vae.buffers()))
    with counter, CudaAutocast(None).on():
        getattr(cast(Any, vae), call)(given)
    return peaks(counter.events, len(counter.events))
