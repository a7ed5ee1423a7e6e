"""The noise schedule of diffusion models that keep the variance: 1000 timesteps, epsilon or v-prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.families.schedule import NoiseSchedule
from engine.families.timestep_shares import timestep_shares
from engine.plan.objective import Objective

Prediction = Literal["epsilon", "v_prediction"]


class VariancePreserving(NoiseSchedule):
    """Discrete variance-preserving diffusion (Ho et al. 2020, arXiv:2006.11239).

    `alphas_cumprod` [T] is fp64 on the CPU; working copies follow the tensors that they meet.
    v-prediction is from Salimans and Ho 2022 (arXiv:2202.00512).
    """

    def __init__(
        self, alphas_cumprod: Tensor, prediction: Prediction, final_alpha: float | None = None
    ) -> None:
        """`final_alpha` is where sampling ends: 1, or the schedule's first alpha (none), as diffusers'
        set_alpha_to_one says."""
        self.alphas_cumprod = alphas_cumprod.double().cpu()
        self.prediction = prediction
        self.final_alpha = float(self.alphas_cumprod[0]) if final_alpha is None else final_alpha
        self._on: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VariancePreserving:
        """From a diffusers scheduler config."""
        if config.get("trained_betas") is not None:
            raise UserError(
                "trained_betas in the scheduler config are not supported",
                "only schedules that follow from beta_start and beta_end are known",
                "use the base model's own scheduler config",
            )
        count = int(config.get("num_train_timesteps", 1000))
        first, last = float(config.get("beta_start", 0.00085)), float(config.get("beta_end", 0.012))
        kind = str(config.get("beta_schedule", "scaled_linear"))
        if kind == "scaled_linear":
            betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float32) ** 2
        elif kind == "linear":
            betas = torch.linspace(first, last, count, dtype=torch.float32)
        else:
            raise UserError(
                f"beta_schedule {kind!r} in the scheduler config is not supported",
                "only linear and scaled_linear are known",
                "use the base model's own scheduler config",
            )
        alphas = torch.cumprod(1.0 - betas, dim=0)
        if config.get("rescale_betas_zero_snr"):
            alphas = zero_terminal_snr(alphas)
        prediction = str(config.get("prediction_type", "epsilon"))
        if prediction not in ("epsilon", "v_prediction"):
            raise UserError(
                f"prediction_type {prediction!r} in the scheduler config is not supported",
                "known are epsilon and v_prediction",
                "use a base model of a supported kind",
            )
        final = 1.0 if config.get("set_alpha_to_one", True) else None
        return cls(alphas, "epsilon" if prediction == "epsilon" else "v_prediction", final)

    def timesteps(self, uniforms: Sequence[float], objective: Objective, shape: Sequence[int]) -> Tensor:
        """Whole timesteps from objective.min_timestep to max_timestep, int64 [b]."""
        low, span = objective.min_timestep, objective.max_timestep - objective.min_timestep + 1
        shares = timestep_shares(uniforms, objective)
        return torch.tensor([low + min(int(share * span), span - 1) for share in shares])

    def timetable(self, steps: int, shape: Sequence[int]) -> list[int]:
        """Whole timesteps with trailing spacing (arXiv:2305.08891)."""
        count = len(self.alphas_cumprod)
        return [round(count - index * (count / steps)) - 1 for index in range(steps)]

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if device not in self._on:
            alphas = self.alphas_cumprod
            snr = alphas / (1 - alphas)
            self._on[device] = (
                alphas.sqrt().float().to(device),
                (1 - alphas).sqrt().float().to(device),
                snr.float().to(device),
            )
        return self._on[device]

    def coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise factors at `timesteps` [b], each [b, 1, 1, 1] in fp32."""
        signal, noise, _ = self._tables(timesteps.device)
        return signal[timesteps].view(-1, 1, 1, 1), noise[timesteps].view(-1, 1, 1, 1)

    def thousandths(self, timesteps: Tensor) -> Tensor:
        return timesteps.float() * (1000 / len(self.alphas_cumprod))

    def snr(self, timesteps: Tensor) -> Tensor:
        """0 at the last step of a zero-terminal schedule."""
        return self._tables(timesteps.device)[2][timesteps]

    def final(self, clean: Tensor, noise: Tensor) -> Tensor:
        signal, sigma = math.sqrt(self.final_alpha), math.sqrt(1 - self.final_alpha)
        return signal * clean + sigma * noise

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        signal, sigma = self.coefficients(timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return noise
        signal, sigma = self.coefficients(timesteps)
        return signal * noise - sigma * latents

    def split(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Where a zero-terminal schedule has no signal, predicted noise says nothing about the clean latents:
        they are taken as 0, their mean.
        """
        signal, sigma = self.coefficients(timesteps)
        if self.prediction == "epsilon":
            clean = (noisy - sigma * prediction) / torch.where(signal > 0, signal, 1.0)
            return torch.where(signal > 0, clean, 0.0), prediction
        return signal * noisy - sigma * prediction, signal * prediction + sigma * noisy


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale so that the last step is pure noise (Lin et al. 2023, arXiv:2305.08891, algorithm 1)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * (first / (first - last))
    return root**2
