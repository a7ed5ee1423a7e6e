"""What the families with Stable Diffusion's UNet share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.models.keymap_unet import PREFIX, block_of, unet_module_map

PART, START = "unet", PREFIX
BLOCKS = f"{PREFIX}input_blocks."
FIRST = f"{BLOCKS}0.0.weight"
# Counted on diffusers' own modules (meta device).
VAE_PARAMETERS, CLIP_L_PARAMETERS = 83_653_863, 123_060_480
ALIASES = {"M00": "MID", "MID00": "MID"}
PROVIDES = frozenset(
    {"cross_attention", "text_encoder", "fresh_denoiser", "controlnet", "t2i_adapter", "snr"}
)


def row(kind: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """Block names of one kind: IN00, IN01, ..."""
    return tuple(f"{kind}{number:02d}" for number in numbers)


def block_finder(config: Mapping[str, Any]) -> Callable[[str], str]:
    """From a module's path in a UNet of this config to IN00.., MID, OUT00.. or BASE."""
    names = unet_module_map(config)
    return lambda path: block_of(names, path)
