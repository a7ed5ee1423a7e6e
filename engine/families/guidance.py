"""What guidance means for a family: how a prompt and what to avoid lead a preview."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.families.base import Conditioning, Guided, ModelFamily, Residuals, ResidualsOf


def classifier_free(
    family: ModelFamily,
    prompt: Conditioning,
    negative: Conditioning,
    guidance: float,
    residuals: ResidualsOf | None,
    rescale: float = 0.0,
) -> Guided:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): both sides run as one batch.

    `rescale` takes so much of the answer at the standard deviation that the prompt's own has (Lin et al. 2023,
    arXiv:2305.08891, section 3.4), without which pictures of a schedule that ends in noise alone are overexposed.
    """
    if guidance <= 1:
        return _plain(family, prompt, residuals)
    ask = _plain(family, Conditioning.joined([negative, prompt]), residuals)

    def guided(noisy: Tensor, timesteps: Tensor) -> Tensor:
        answer = ask(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]))
        without, with_prompt = answer.chunk(2)
        led = without + guidance * (with_prompt - without)
        if rescale == 0:
            return led
        places = tuple(range(1, led.ndim))
        share = with_prompt.std(dim=places, keepdim=True) / led.std(dim=places, keepdim=True)
        return rescale * led * share + (1 - rescale) * led

    return guided


def _plain(
    family: ModelFamily, cond: Conditioning, residuals: ResidualsOf | None
) -> Callable[[Tensor, Tensor], Tensor]:
    def ask(noisy: Tensor, timesteps: Tensor) -> Tensor:
        extra: Residuals = residuals(noisy, timesteps, cond) if residuals else {}
        return family.denoise(noisy, timesteps, cond, extra).float()

    return ask
