"""What is known of each model family without torch: names, sizes, and what it offers to methods."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FamilySpec:
    """Facts of one family. `downscale` is pixels a latent; `step` is the bucket grid in pixels."""

    name: str
    title: str
    resolution: int
    downscale: int
    latent_channels: int
    text_parts: tuple[str, ...]
    token_limit: int
    provides: frozenset[str]


SD1 = FamilySpec(
    name="sd1",
    title="Stable Diffusion 1.x",
    resolution=512,
    downscale=8,
    latent_channels=4,
    text_parts=("text_encoder",),
    token_limit=75,
    provides=frozenset({"unet", "cross_attention", "text_encoder", "controlnet", "t2i_adapter"}),
)

SD2 = replace(SD1, name="sd2", title="Stable Diffusion 2.x")

SDXL = FamilySpec(
    name="sdxl",
    title="Stable Diffusion XL",
    resolution=1024,
    downscale=8,
    latent_channels=4,
    text_parts=("text_encoder", "text_encoder_2"),
    token_limit=75,
    provides=SD1.provides,
)

FAMILIES: dict[str, FamilySpec] = {spec.name: spec for spec in (SD1, SD2, SDXL)}
