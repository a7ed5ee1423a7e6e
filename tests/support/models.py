"""Small models with each family's real block layout and random weights, written as diffusers folders."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.demo.recipe import new_text_encoder, new_unet, write_folder
from engine.demo.vae import new_vae


def write_sd1(folder: Path, seed: int = 0) -> Path:
    """A random SD 1.x: four levels, 64 px native, 4.6 M parameters, fp16 on disk."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        write_folder(folder, new_unet(), new_vae(), new_text_encoder())
    return folder
