"""The training objective: from a prediction and its target to one number a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.families.schedule import NoiseSchedule
from engine.plan.objective import Objective
from engine.train.loss_weights import timestep_weights


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
    """
    errors = _errors(prediction.float(), target.float(), timesteps, schedule, objective)
    if weights.ndim == 4:
        errors = errors * weights
    losses = errors.mean(dim=(1, 2, 3))
    by_timestep = timestep_weights(schedule, timesteps, objective)
    if by_timestep is not None:
        losses = losses * by_timestep
    return losses * weights if weights.ndim == 1 else losses


def _errors(
    prediction: Tensor, target: Tensor, timesteps: Tensor, schedule: NoiseSchedule, objective: Objective
) -> Tensor:
    """The distance at each place.

    Huber's loss (Huber 1964) is twice torch's, as kohya's scripts scale theirs: up to delta it is the squared error,
    so that the loss, rates and min-SNR weights mean the same as with mse.
    """
    if objective.loss == "mse":
        return functional.mse_loss(prediction, target, reduction="none")
    if objective.loss == "l1":
        return functional.l1_loss(prediction, target, reduction="none")
    delta = objective.huber_delta
    if objective.huber_schedule == "constant":
        return 2 * functional.huber_loss(prediction, target, reduction="none", delta=delta)
    deltas = huber_deltas(schedule, timesteps, objective).view(-1, 1, 1, 1)
    error = prediction - target
    return torch.where(error.abs() <= deltas, error**2, 2 * deltas * error.abs() - deltas**2)


def huber_deltas(schedule: NoiseSchedule, timesteps: Tensor, objective: Objective) -> Tensor:
    """Where the squared error ends at each timestep, [b], by the schedules of kohya's scripts (Khrapov et al. 2024,
    arXiv:2403.16728).

    exponential is delta^(t / T); snr is (1 - delta) / (1 + sigma)^2 + delta with sigma = 1 / sqrt(SNR). Both are 1
    where there is no noise.
    """
    delta = objective.huber_delta
    if objective.huber_schedule == "exponential":
        return torch.pow(delta, schedule.thousandths(timesteps) / 1000)
    sigma = schedule.snr(timesteps).rsqrt()
    return (1 - delta) / (1 + sigma) ** 2 + delta
