"""The noise of a step: what the model is to predict, and what is added to the latents it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine import draws
from engine.plan.objective import Objective

Normal = Callable[[str, int, Sequence[int], Sequence[int]], Tensor]
"""Standard normal draws by purpose, step, slots and the shape of one sample."""


def noises(
    normal: Normal, objective: Objective, step: int, slots: Sequence[int], latents: Tensor
) -> tuple[Tensor, Tensor]:
    """The noise that is to be predicted and the noise that is added, each as the latents [b, c, h, w]."""
    shape = tuple(latents.shape[1:])
    noise = normal("noise", step, slots, shape)
    if objective.offsets_noise:
        offset = normal("offset", step, slots, (shape[0], 1, 1))
        noise = offset_noise(noise, offset, offset_strength(latents, objective))
    if objective.input_perturbation == 0:
        return noise, noise
    more = normal("perturbation", step, slots, shape)
    return noise, perturbed(noise, more, objective.input_perturbation)


def offset_noise(noise: Tensor, offset: Tensor, strength: Tensor | float) -> Tensor:
    """Noise with a constant added per channel; `offset` is [b, c, 1, 1] standard normal."""
    return noise + strength * offset


def offset_strength(latents: Tensor, objective: Objective) -> Tensor | float:
    """How strong the offset is: a number, or [b, c, 1, 1] where it follows the channel's mean, and then never below 0.

    The adaptive noise scale of kohya's scripts: offset + scale |mean|.
    """
    if objective.adaptive_noise_offset == 0:
        return objective.noise_offset
    means = latents.mean(dim=(2, 3), keepdim=True).abs()
    return torch.clamp(objective.noise_offset + objective.adaptive_noise_offset * means, min=0)


def perturbed(noise: Tensor, more: Tensor, gamma: float) -> Tensor:
    """Input perturbation (Ning et al. 2023, arXiv:2301.11706): noise + gamma more, of which only the noise is to be
    predicted."""
    return noise + gamma * more


def pyramid(noise: Tensor, objective: Objective, seed: int, step: int, slots: Sequence[int]) -> Tensor:
    """Multi-resolution noise (Whitaker 2023; kohya's `multires_noise_iterations`) on top of `noise` [b, c, h, w].

    Level i is noise on a grid that is r^i smaller in both directions, r drawn from [2, 4) for each level, made large
    bilinearly, times discount^i; the first level is as fine as the noise itself. Levels end at one place. Each sample
    is brought back to a standard deviation of 1. All is drawn on the CPU by seed, step and slot.
    """
    rows = [_pyramid(one, objective, seed, step, slot) for one, slot in zip(noise, slots, strict=True)]
    return torch.stack(rows)


def _pyramid(noise: Tensor, objective: Objective, seed: int, step: int, slot: int) -> Tensor:
    channels, height, width = noise.shape
    total = noise
    for level in range(objective.pyramid_noise):
        (draw,) = draws.uniforms(seed, f"pyramid ratio {level}", step, [slot])
        ratio = (2 + 2 * draw) ** level
        rows, columns = max(1, int(height / ratio)), max(1, int(width / ratio))
        coarse = draws.normal(seed, f"pyramid {level}", step, [slot], (channels, rows, columns))
        large = functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        total = total + large * objective.pyramid_discount**level
        if rows == 1 or columns == 1:
            break
    return total / total.std()
