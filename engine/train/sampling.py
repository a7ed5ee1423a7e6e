"""Pictures from the model as it is: a deterministic sampler through the same denoise and schedule as training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import draws
from engine.families.base import Conditioning, ModelFamily, ResidualsOf


@dataclass(frozen=True)
class PreviewRequest:
    """One picture to draw. `width` and `height` are pixels; `guidance` 1 turns guidance off."""

    prompt: Conditioning
    negative: Conditioning
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    rescale: float = 0.0
    """How much of guidance's answer is brought back to the prompt's own strength."""


def initial_noise(family: ModelFamily, request: PreviewRequest) -> Tensor:
    """The starting latents, [1, c, h/f, w/f], drawn on the CPU and so equal on every device."""
    scale = family.spec.downscale
    shape = (family.spec.latent_channels, request.height // scale, request.width // scale)
    return draws.normal(request.seed, "preview", 0, [0], shape)


def draw(
    family: ModelFamily,
    request: PreviewRequest,
    device: torch.device,
    residuals: ResidualsOf | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """One picture in [-1, 1], [3, height, width] on the CPU."""
    return draw_batch(family, [request], device, residuals, decode)[0]


@torch.no_grad()
def draw_batch(
    family: ModelFamily,
    requests: Sequence[PreviewRequest],
    device: torch.device,
    residuals: ResidualsOf | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Pictures in [-1, 1], [b, 3, height, width] on the CPU, of requests with equal steps, guidance, rescale and size.

    Each step goes to the next timestep with the clean latents and the noise that it found: DDIM with eta 0 (Song
    et al. 2020, arXiv:2010.02502) on a variance-preserving schedule, Euler's method on a flow. `decode` makes pixels
    of the latents, by default all at once.
    """
    schedule, first = family.schedule, requests[0]
    assert all(_settings(request) == _settings(first) for request in requests)
    latents = torch.cat([initial_noise(family, request) for request in requests]).to(device)
    sides = ([request.prompt for request in requests], [request.negative for request in requests])
    prompt, negative = (Conditioning.joined(side).map(lambda value: value.to(device)) for side in sides)
    predict = family.guided(prompt, negative, first.guidance, residuals, first.rescale)
    steps = schedule.timetable(first.steps, latents.shape[1:])
    for now, after in zip(steps, [*steps[1:], None], strict=True):
        times = torch.full((len(latents),), now, device=device)
        clean, noise = schedule.split(latents, predict(latents, times), times)
        if after is None:
            latents = schedule.final(clean, noise)
        else:
            latents = schedule.add_noise(clean, noise, torch.full((1,), after, device=device))
    return family.decode_latents(latents).clamp(-1, 1).cpu() if decode is None else decode(latents)


def _settings(request: PreviewRequest) -> tuple[int, float, int, int, float]:
    return request.steps, request.guidance, request.width, request.height, request.rescale
