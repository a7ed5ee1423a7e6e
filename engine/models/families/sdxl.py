"""Stable Diffusion XL: two text encoders, and a UNet that is told sizes and crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.models.families import unet
from engine.models.families.sd1 import SD1
from engine.models.families.unet import row
from engine.models.family_spec import BASE, Blocks, TextPart
from engine.models.keymap_unet import unet_module_map
from engine.models.published import Config

_IN, _OUT = row("IN", range(9)), row("OUT", range(9))
_ORDER = (*_IN, "MID", *_OUT)
_ATTENDING = (*row("IN", (4, 5, 7, 8)), "MID", *_OUT[:6])


def _recognise(config: Mapping[str, Any]) -> str:
    told = config.get("addition_embed_type") == "text_time"
    return "SDXL: the UNet takes size and crop (addition_embed_type is text_time)" if told else ""


def _complete(configs: dict[str, Config]) -> None:
    # The UNet is told the pooled text and six numbers (size, crop, target), each as an embedding of this width.
    added = int(configs["unet"]["projection_class_embeddings_input_dim"])
    pooled = int(configs["text_encoder_2"]["projection_dim"])
    configs["unet"]["addition_time_embed_dim"] = (added - pooled) // 6


SDXL = replace(
    SD1,
    provides=unet.PROVIDES,
    name="sdxl",
    title="Stable Diffusion XL",
    short="SDXL",
    resolution=1024,
    text=(
        TextPart(
            name="text_encoder",
            class_name="CLIPTextModel",
            parameters=unet.CLIP_L_PARAMETERS,
            below="conditioner.embedders.0.",
            prefix="conditioner.embedders.0.transformer.",
            layout="hf",
            kohya="lora_te1",
            embedding="clip_l",
        ),
        TextPart(
            name="text_encoder_2",
            class_name="CLIPTextModelWithProjection",
            parameters=694_659_840,
            below="conditioner.embedders.1.",
            prefix="conditioner.embedders.1.model.",
            layout="open_clip",
            kohya="lora_te2",
            embedding="clip_g",
            projects=True,
        ),
    ),
    blocks=Blocks(
        order=_ORDER,
        attending=_ATTENDING,
        # B-LoRA (arXiv:2403.14572) found content in up_blocks.0.attentions.0 and style in .1.
        carries={"content": ("OUT00",), "style": ("OUT01",)},
        numbered={12: (BASE, *_ATTENDING), 20: (BASE, *_ORDER)},
        aliases=unet.ALIASES,
    ),
    denoiser_parameters=2_567_463_684,
    file=unet.file_marks(("conditioner.embedders.",)),
    layout=replace(unet.LAYOUT, complete=_complete),
    recognise=_recognise,
    hub_id="stabilityai/stable-diffusion-xl-base-1.0",
    pipeline="StableDiffusionXLPipeline",
    # diffusers would lead away from zeros, which no dropped caption trained and no preview shows.
    index={"force_zeros_for_empty_prompt": False},
    architectures={
        "epsilon": "stable-diffusion-xl-v1-base",
        "v_prediction": "stable-diffusion-xl-v1-base",
    },
    implementation="https://github.com/Stability-AI/generative-models",
    # diffusers' reader of control_model. keys leaves out label_emb; AUTOMATIC1111 1.10 knows no marker of v-prediction.
    not_opened={
        "controlnet_ldm": frozenset({"kohya", "diffusers"}),
        "single_file/v_prediction": frozenset({"AUTOMATIC1111"}),
        "merged/v_prediction": frozenset({"AUTOMATIC1111"}),
    },
    kohya_bases={"epsilon": "sdxl_base_v1-0", "v_prediction": "sdxl_base_v1-0"},
    kohya_paths=unet_module_map,
    t2i_kinds=("full_adapter_xl",),
    t2i_grid=16,
)
