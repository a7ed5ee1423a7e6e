"""What the loop, the previews and min-SNR ask of a family's noise schedule; timesteps are its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from engine.plan.objective import Objective


class NoiseSchedule(Protocol):
    """How a clean latent becomes a noisy one, and what the denoiser should answer.

    A timestep is whatever the family's denoiser takes: whole numbers, or a share of noise. Latents are
    [b, c, h, w], `shape` is one latent's [c, h, w], and `timesteps` are [b], or [1] for all of them.
    """

    prediction: str
    """What the denoiser answers: epsilon, v_prediction, or the family's own word."""

    def timesteps(self, uniforms: Sequence[float], objective: Objective, shape: Sequence[int]) -> Tensor:
        """The timesteps to train at, [b], made of as many uniform draws from [0, 1)."""
        ...

    def timetable(self, steps: int, shape: Sequence[int]) -> Sequence[float]:
        """The timesteps of a preview, the noisiest first."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noisy latents in fp32."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser should predict."""
        ...

    def split(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise that a prediction stands for."""
        ...

    def final(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The last latents of a sampler, from what its last step found."""
        ...

    def thousandths(self, timesteps: Tensor) -> Tensor:
        """How far from clean (0) to all noise (1000) each timestep lies, [b] in fp32."""
        ...

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal-to-noise ratio, [b]; UserError in a family whose loss is not weighed by it."""
        ...
