"""How often each timestep is drawn: from uniform draws to shares of the way from clean to all noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.plan.objective import Objective


def timestep_shares(uniforms: Sequence[float], objective: Objective) -> Sequence[float]:
    """A share from 0 to 1 for each draw from [0, 1).

    cubic is 1 - u^3 (T2I-Adapter, arXiv:2302.08453): noisy steps come more often. logit_normal is the logistic function
    of a normal number (Esser et al. 2024, arXiv:2403.03206), of which the draw is the quantile; sigmoid is that with
    mean 0, which kohya's scripts and ai-toolkit call so.
    """
    if objective.timesteps == "uniform":
        return uniforms
    if objective.timesteps == "cubic":
        return [1.0 - draw**3 for draw in uniforms]
    mean = objective.timestep_mean if objective.timesteps == "logit_normal" else 0.0
    normal = torch.special.ndtri(torch.tensor(uniforms, dtype=torch.float64))
    shares: list[float] = torch.sigmoid(mean + objective.timestep_spread * normal).tolist()
    return shares
