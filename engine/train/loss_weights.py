"""What the loss of a sample is multiplied by because of its timestep."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.families.schedule import NoiseSchedule
from engine.plan.objective import Objective, bands_of

MOST_SNR = 1000.0
"""SNR and its inverse count no further than this in debiased weights, as in kohya's scripts and OneTrainer: SD 1.x goes
from 0.005 to 1175."""


def timestep_weights(schedule: NoiseSchedule, timesteps: Tensor, objective: Objective) -> Tensor | None:
    """The product of all weights that are asked for, [b] in fp32; none where each timestep weighs 1."""
    weights: Tensor | None = None
    if objective.min_snr_gamma > 0:
        weigh = soft_min_snr_weight if objective.soft_min_snr else min_snr_weight
        weights = weigh(schedule, timesteps, objective.min_snr_gamma)
    if objective.weighting == "debiased":
        weights = debiased_weight(schedule, timesteps)
    elif objective.weighting == "p2":
        weights = p2_weight(schedule, timesteps, objective.p2_gamma)
    if objective.band_weights:
        own = band_weight(schedule, timesteps, objective.band_weights)
        weights = own if weights is None else weights * own
    return weights


def min_snr_weight(schedule: NoiseSchedule, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights [b] (Hang et al. 2023, arXiv:2303.09556).

    min(SNR, gamma) / SNR for epsilon, which is 1 up to gamma: so also at the last step of a zero-terminal
    schedule, where SNR is 0. For v-prediction the divisor is SNR + 1, which keeps that step finite.
    """
    snr = schedule.snr(timesteps)
    if schedule.prediction == "epsilon":
        return gamma / torch.clamp(snr, min=gamma)
    return torch.clamp(snr, max=gamma) / (snr + 1)


def soft_min_snr_weight(schedule: NoiseSchedule, timesteps: Tensor, gamma: float) -> Tensor:
    """Soft min-SNR [b] (Crowson et al. 2024, arXiv:2401.11605): 1 / (1/SNR + 1/gamma) of the clean latents' error.

    That is gamma / (SNR + gamma) of epsilon's and SNR gamma / ((SNR + gamma) (SNR + 1)) of the velocity's.
    """
    snr = schedule.snr(timesteps)
    soft = gamma / (snr + gamma)
    return soft if schedule.prediction == "epsilon" else soft * snr / (snr + 1)


def debiased_weight(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """Debiased estimation [b] (Yu et al. 2023, arXiv:2310.08442): 1 / sqrt(SNR) of epsilon's error.

    For v-prediction 1 / (SNR + 1), as kohya's scripts have it.
    """
    snr = torch.clamp(schedule.snr(timesteps), 1 / MOST_SNR, MOST_SNR)
    return snr.rsqrt() if schedule.prediction == "epsilon" else 1 / (snr + 1)


def p2_weight(schedule: NoiseSchedule, timesteps: Tensor, gamma: float) -> Tensor:
    """P2 [b] (Choi et al. 2022, arXiv:2204.00227) with k = 1: (1 + SNR)^-gamma of epsilon's error.

    For v-prediction SNR + 1 stands in the place of SNR, as in OneTrainer.
    """
    snr = schedule.snr(timesteps)
    return (snr + (1 if schedule.prediction == "epsilon" else 2)) ** -gamma


def band_weight(schedule: NoiseSchedule, timesteps: Tensor, text: str) -> Tensor:
    """The weight [b] of the band that each timestep lies in, and 1 outside of all that `text` names."""
    places = schedule.thousandths(timesteps)
    weights = torch.ones_like(places)
    for band in bands_of(text):
        inside = (places >= band.low) & (places < band.high + 1)
        weights = torch.where(inside, band.weight, weights)
    return weights
