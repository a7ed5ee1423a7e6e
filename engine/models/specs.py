"""What is known of each model family without torch: names, sizes, and what it offers to methods."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FamilySpec:
    """Facts of one family.

    `denoiser` is the part that predicts, by diffusers' folder name; `downscale` is pixels a latent; `provides` is what
    some methods and options ask for and not every family has.
    """

    name: str
    title: str
    denoiser: str
    resolution: int
    downscale: int
    latent_channels: int
    text_parts: tuple[str, ...]
    token_limit: int
    provides: frozenset[str]


SD1 = FamilySpec(
    name="sd1",
    title="Stable Diffusion 1.x",
    denoiser="unet",
    resolution=512,
    downscale=8,
    latent_channels=4,
    text_parts=("text_encoder",),
    token_limit=75,
    provides=frozenset(
        {"cross_attention", "text_encoder", "fresh_denoiser", "controlnet", "t2i_adapter", "snr"}
    ),
)

SD2 = replace(SD1, name="sd2", title="Stable Diffusion 2.x")

SDXL = FamilySpec(
    name="sdxl",
    title="Stable Diffusion XL",
    denoiser=SD1.denoiser,
    resolution=1024,
    downscale=8,
    latent_channels=4,
    text_parts=("text_encoder", "text_encoder_2"),
    token_limit=75,
    provides=SD1.provides,
)

FAMILIES: dict[str, FamilySpec] = {spec.name: spec for spec in (SD1, SD2, SDXL)}
