"""What the reference checks of full-weight methods share: one step's loss in plain torch and diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from engine.keys import uniform
from tests.support.draws import normal

Sample = tuple[int, Path, str]
"""A sample's slot, its picture and its caption."""


@dataclass
class Plain:
    """The parts of a folder, in fp32, loaded by the libraries themselves."""

    unet: Any
    vae: Any
    encoder: Any
    tokenizer: Any
    schedule: Any
    seed: int

    @classmethod
    def load(cls, base: Path, seed: int) -> Plain:
        fp32 = {"torch_dtype": torch.float32}
        return cls(
            UNet2DConditionModel.from_pretrained(base, subfolder="unet", **fp32),
            AutoencoderKL.from_pretrained(base, subfolder="vae", **fp32).requires_grad_(False),
            CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **fp32),
            CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"),
            DDPMScheduler.from_pretrained(base, subfolder="scheduler"),
            seed,
        )

    def randn(self, purpose: str, step: int, slot: int) -> torch.Tensor:
        return normal(self.seed, purpose, step, slot, (4, 8, 8))

    def noisy(
        self, step: int, pictures: list[tuple[int, Path]], cubic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy latents, timesteps and noise of this step's pictures, each with its slot."""
        latents, noises, times = [], [], []
        for slot, file in pictures:
            pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).float() / 127.5 - 1
            posterior = self.vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist
            scale = self.vae.config.scaling_factor
            latents.append(posterior.mean * scale + posterior.std * scale * self.randn("latent", step, slot))
            noises.append(self.randn("noise", step, slot)[None])
            draw = uniform(self.seed, "timestep", step, slot)
            times.append(min(int((1 - draw**3 if cubic else draw) * 1000), 999))
        noise, time = torch.cat(noises), torch.tensor(times)
        return self.schedule.add_noise(torch.cat(latents), noise, time), time, noise

    def loss(self, step: int, samples: list[Sample]) -> torch.Tensor:
        """The mean squared error of this step's samples, whose captions the encoder reads now."""
        latents, noises, times = [], [], []
        for slot, file, _ in samples:
            pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).float() / 127.5 - 1
            posterior = self.vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist
            scale = self.vae.config.scaling_factor
            latents.append(posterior.mean * scale + posterior.std * scale * self.randn("latent", step, slot))
            noises.append(self.randn("noise", step, slot)[None])
            times.append(int(uniform(self.seed, "timestep", step, slot) * 1000))
        texts = [text for *_, text in samples]
        ids = self.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
        noise, time = torch.cat(noises), torch.tensor(times)
        noisy = self.schedule.add_noise(torch.cat(latents), noise, time)
        loss: torch.Tensor = ((self.unet(noisy, time, self.encoder(ids)[0]).sample - noise) ** 2).mean()
        return loss


def samples(folder: Path, rows: list[int], first_slot: int = 0, text: str | None = None) -> list[Sample]:
    """The pictures of a folder that a batch holds, each with its own caption or with `text`."""
    files = sorted(folder.glob("*.png"))
    return [
        (first_slot + at, files[row], text or files[row].with_suffix(".txt").read_text())
        for at, row in enumerate(rows)
    ]
