"""The training objective: from a prediction and its target to one number a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.families.schedule import NoiseSchedule
from engine.plan.schema import Objective


def sample_losses(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    objective: Objective,
    weights: Tensor,
) -> Tensor:
    """The weighted loss of each sample, [b] in fp32; prediction and target are [b, c, h, w].

    `weights` are [b], or [b, 1, h, w] for each place of the latents. The mean is over all places, whatever they weigh:
    a map of ones is a weight of 1, and half a picture masked out halves its loss.

    Huber's loss (Huber 1964) is twice torch's, as kohya's scripts scale theirs: up to delta it is the squared error,
    so that the loss, rates and min-SNR weights mean the same as with mse.
    """
    if objective.loss == "huber":
        delta = objective.huber_delta
        errors = 2 * functional.huber_loss(prediction.float(), target.float(), reduction="none", delta=delta)
    else:
        errors = functional.mse_loss(prediction.float(), target.float(), reduction="none")
    if weights.ndim == 4:
        errors = errors * weights
    losses = errors.mean(dim=(1, 2, 3))
    if objective.min_snr_gamma > 0:
        losses = losses * min_snr_weight(schedule, timesteps, objective.min_snr_gamma)
    return losses * weights if weights.ndim == 1 else losses


def min_snr_weight(schedule: NoiseSchedule, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights [b] (Hang et al. 2023, arXiv:2303.09556).

    min(SNR, gamma) / SNR for epsilon, which is 1 up to gamma: so also at the last step of a zero-terminal
    schedule, where SNR is 0. For v-prediction the divisor is SNR + 1, which keeps that step finite.
    """
    snr = schedule.snr(timesteps)
    if schedule.prediction == "epsilon":
        return gamma / torch.clamp(snr, min=gamma)
    return torch.clamp(snr, max=gamma) / (snr + 1)


def offset_noise(noise: Tensor, offset: Tensor, strength: float) -> Tensor:
    """Noise with a constant added per channel; `offset` is [b, c, 1, 1] standard normal."""
    return noise + strength * offset
