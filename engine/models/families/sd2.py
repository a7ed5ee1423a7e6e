"""Stable Diffusion 2.x: like 1.x, but for its text encoder, linear projections and v-prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.models.families import unet
from engine.models.families.sd1 import SD1
from engine.models.family_spec import TextPart

# ComfyUI tells v-prediction (768-v) from epsilon (512-base) by this bias's spread, and so do we.
_SPREAD = (f"{unet.START}output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09)


def _recognise(config: Mapping[str, Any]) -> str:
    """By the width of the text; a narrow model is told by its linear projections."""
    width = config.get("cross_attention_dim")
    if width == 1024 or (width != 768 and config.get("use_linear_projection") is True):
        return f"SD 2.x: the UNet attends to text of width {width}"
    return ""


SD2 = replace(
    SD1,
    provides=unet.PROVIDES,
    name="sd2",
    title="Stable Diffusion 2.x",
    short="SD 2.x",
    hub_id="",
    resolutions={"v_prediction": 768},
    text=(
        TextPart(
            name="text_encoder",
            class_name="CLIPTextModel",
            parameters=340_387_840,
            below="cond_stage_model.",
            prefix="cond_stage_model.model.",
            layout="open_clip",
            kohya="lora_te",
            unused_layers=1,
        ),
    ),
    denoiser_parameters=865_910_724,
    file=unet.file_marks(
        ("cond_stage_model.model.transformer.", "cond_stage_model.model.token_embedding."), _SPREAD
    ),
    recognise=_recognise,
    architectures={"epsilon": "stable-diffusion-v2-512", "v_prediction": "stable-diffusion-v2-768-v"},
    # AUTOMATIC1111's ControlNet extension has one config for SD 1.x and 2.x, with 8 heads.
    not_opened={
        "controlnet": frozenset({"AUTOMATIC1111"}),
        "controlnet_ldm": frozenset({"AUTOMATIC1111", "kohya"}),
    },
    kohya_bases={"epsilon": "sd_v2", "v_prediction": "sd_v2_v"},
    kohya_v2=True,
)
