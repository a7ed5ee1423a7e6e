"""Pictures to latents and back within the memory that is there: one picture at a time, and in tiles where asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.families.base import ModelFamily
from engine.train.idle_parts import IdleParts
from engine.train.tiles import OVERLAP, TILE, in_tiles

VAE = "vae"
Warn = Callable[[str, str], None]
"""Who hears of a short name for programs and a text."""


def unheard(code: str, text: str) -> None:
    """A warning that nobody listens to."""


class Autoencoder:
    """A family's VAE. Pictures go through it one by one, so that what comes out does not depend on the others."""

    def __init__(
        self, family: ModelFamily, idle: IdleParts, device: torch.device, tiling: str, warn: Warn
    ) -> None:
        """`tiling` is hardware.vae_tiling; `warn` hears where memory makes tiles of what was to be whole."""
        self.family = family
        self.idle = idle
        self.device = device
        self.warn = warn
        self.tiles_encode = tiling == "both"
        self.tiles_decode = tiling in ("decode", "both")
        self._may_tile = tiling != "off"

    @torch.no_grad()
    def encode(self, pixels_bchw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the scaled latents, each [b, c, h/f, w/f] on the device."""
        fold = self.family.spec.downscale
        with self.idle.here(VAE):
            made = []
            for row in torch.split(pixels_bchw, 1):
                if self.tiles_encode and _larger(row, TILE * fold):
                    tiles = in_tiles(self._encoded, row, TILE * fold, OVERLAP * fold, down=fold)
                    made.append(tiles.to(self.device))
                else:
                    made.append(self._encoded(row))
        mean, std = torch.cat(made).chunk(2, dim=1)
        return mean, std

    @torch.no_grad()
    def decode(self, latents_bchw: Tensor) -> Tensor:
        """Pixels in [-1, 1], [b, 3, h, w] on the CPU."""
        with self.idle.here(VAE):
            return torch.cat([self._decode_one(row) for row in torch.split(latents_bchw, 1)])

    def _decode_one(self, row: Tensor) -> Tensor:
        larger = _larger(row, TILE)
        if not (self.tiles_decode and larger):
            try:
                return self._decoded(row).cpu()
            except torch.OutOfMemoryError:
                if not (larger and self._may_tile):
                    raise
            self.tiles_decode = True
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            side = TILE * self.family.spec.downscale
            self.warn(
                "decode-in-tiles", f"out of memory: pictures are decoded in tiles of {side} px from here on"
            )
        return in_tiles(self._decoded, row, TILE, OVERLAP, up=self.family.spec.downscale)

    def _encoded(self, row: Tensor) -> Tensor:
        return torch.cat(self.family.encode_image(row.to(self.device, non_blocking=True)), dim=1)

    def _decoded(self, row: Tensor) -> Tensor:
        return self.family.decode_latents(row).clamp(-1, 1)


def _larger(whole: Tensor, tile: int) -> bool:
    return max(whole.shape[-2:]) > tile
