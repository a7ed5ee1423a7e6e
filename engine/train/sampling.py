"""Pictures from the model as it is: DDIM with classifier-free guidance, through the same denoise as training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import draws
from engine.families.base import Conditioning, ModelFamily, Residuals
from engine.families.schedule import NoiseSchedule

ResidualsOf = Callable[[Tensor, Tensor, Conditioning], Residuals]


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


def timetable(schedule: NoiseSchedule, steps: int) -> list[int]:
    """Descending timesteps with trailing spacing (arXiv:2305.08891): the first one is the noisiest."""
    ratio = schedule.steps / steps
    return [round(schedule.steps - index * ratio) - 1 for index in range(steps)]


def initial_noise(family: ModelFamily, request: PreviewRequest) -> Tensor:
    """The starting latents, [1, c, h/f, w/f], drawn on the CPU and so equal on every device."""
    scale = family.spec.downscale
    shape = (1, family.spec.latent_channels, request.height // scale, request.width // scale)
    return torch.randn(shape, generator=draws.generator(request.seed, "preview"))


def draw(
    family: ModelFamily, request: PreviewRequest, device: torch.device, residuals: ResidualsOf | None = None
) -> Tensor:
    """One picture in [-1, 1], [3, height, width] on the CPU."""
    return draw_batch(family, [request], device, residuals)[0]


@torch.no_grad()
def draw_batch(
    family: ModelFamily,
    requests: Sequence[PreviewRequest],
    device: torch.device,
    residuals: ResidualsOf | None = None,
) -> Tensor:
    """Pictures in [-1, 1], [b, 3, height, width] on the CPU, of requests with equal steps, guidance and size.

    DDIM (Song et al. 2020, arXiv:2010.02502) with eta 0 and classifier-free guidance (Ho and Salimans 2022,
    arXiv:2207.12598).
    """
    schedule, first = family.schedule, requests[0]
    assert all((s.steps, s.guidance, s.width, s.height) == _settings(first) for s in requests)
    latents = torch.cat([initial_noise(family, request) for request in requests]).to(device)
    guided = first.guidance > 1
    sides = ([request.negative for request in requests] if guided else []) + [
        request.prompt for request in requests
    ]
    cond = _joined(sides).map(lambda value: value.to(device))
    steps = timetable(schedule, first.steps)
    for now, after in zip(steps, [*steps[1:], -1], strict=True):
        model_input = torch.cat([latents, latents]) if guided else latents
        times = torch.full((len(model_input),), now, device=device)
        extra: Residuals = residuals(model_input, times, cond) if residuals else {}
        answer = family.denoise(model_input, times, cond, extra).float()
        if guided:
            without, with_prompt = answer.chunk(2)
            answer = without + first.guidance * (with_prompt - without)
        clean, noise = schedule.split(latents, answer, times[: len(requests)])
        latents = _at(schedule, clean, noise, after)
    return family.decode_latents(latents).clamp(-1, 1).cpu()


def _settings(request: PreviewRequest) -> tuple[int, float, int, int]:
    return request.steps, request.guidance, request.width, request.height


def _at(schedule: NoiseSchedule, clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
    if timestep < 0:
        return schedule.final(clean, noise)
    signal, sigma = schedule.coefficients(torch.full((1,), timestep, device=clean.device))
    return signal * clean + sigma * noise


def _joined(conds: Sequence[Conditioning]) -> Conditioning:
    extra = {name: torch.cat([cond.extra[name] for cond in conds]) for name in conds[0].extra}
    return Conditioning(torch.cat([cond.hidden for cond in conds]), extra)
