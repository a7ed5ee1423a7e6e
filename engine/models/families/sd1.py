"""Stable Diffusion 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.models.families import unet
from engine.models.families.unet import row
from engine.models.family_spec import BASE, Blocks, FamilySpec, TextPart
from engine.models.keymap_unet import unet_names
from engine.models.unet_layers import unet_layers

_IN, _OUT = row("IN", range(12)), row("OUT", range(12))
_ORDER = (*_IN, "MID", *_OUT)
_ATTENDING = (*row("IN", (1, 2, 4, 5, 7, 8)), "MID", *_OUT[3:])


def _recognise(config: Mapping[str, Any]) -> str:
    return f"SD 1.x: the UNet attends to text of width {config.get('cross_attention_dim')}"


SD1 = FamilySpec(
    name="sd1",
    title="Stable Diffusion 1.x",
    short="SD 1.x",
    denoiser=unet.PART,
    denoiser_title="UNet",
    denoiser_class="UNet2DConditionModel",
    resolution=512,
    downscale=8,
    latent_channels=4,
    text=(
        TextPart(
            name="text_encoder",
            class_name="CLIPTextModel",
            parameters=unet.CLIP_L_PARAMETERS,
            below="cond_stage_model.",
            prefix="cond_stage_model.transformer.",
            layout="hf",
            kohya="lora_te",
        ),
    ),
    token_limit=75,
    provides=unet.PROVIDES | {"clip_skip"},
    layers=unet_layers,
    block_finder=unet.block_finder,
    blocks=Blocks(
        order=_ORDER,
        attending=_ATTENDING,
        # That the decoder carries style is what OUTALL stands for, and the rest is then content.
        carries={"content": _ATTENDING[:7], "style": _OUT[3:]},
        # Source of numbering and presets: the block weight extension for AUTOMATIC1111, and kohya's.
        numbered={17: (BASE, *_ATTENDING), 26: (BASE, *_ORDER)},
        presets={
            "ALL": (1,) * 17,
            "INS": (1,) * 4 + (0,) * 13,
            "IND": (1, 0, 0, 0, 1, 1, 1) + (0,) * 10,
            "INALL": (1,) * 7 + (0,) * 10,
            "MIDD": (1, 0, 0, 0) + (1,) * 8 + (0,) * 5,
            "OUTD": (1,) + (0,) * 7 + (1,) * 4 + (0,) * 5,
            "OUTS": (1,) + (0,) * 11 + (1,) * 5,
            "OUTALL": (1,) + (0,) * 7 + (1,) * 9,
        },
        aliases=unet.ALIASES,
    ),
    denoiser_parameters=859_520_964,
    vae_parameters=unet.VAE_PARAMETERS,
    file=unet.file_marks(("cond_stage_model.transformer.",)),
    layout=unet.LAYOUT,
    parameter_names=unet_names,
    recognise=_recognise,
    hub_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
    pipeline="StableDiffusionPipeline",
    index={"requires_safety_checker": False, "safety_checker": [None, None]},
    architectures={"epsilon": "stable-diffusion-v1", "v_prediction": "stable-diffusion-v1"},
    kohya_bases={"epsilon": "sd_v1", "v_prediction": "sd_v1"},
    t2i_kinds=("full_adapter", "light_adapter"),
)
