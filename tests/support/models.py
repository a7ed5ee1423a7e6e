"""Small models with each family's real block layout and random weights, written as diffusers folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.demo.recipe import new_text_encoder, new_unet, write_folder
from engine.demo.tokenizer import MAX_LENGTH, vocabulary, write_tokenizer
from engine.demo.vae import new_vae
from engine.models.keymap_text import with_level
from engine.models.published import published

NARROW_UNETS: dict[str, dict[str, Any]] = {
    # Heads stay as wide as the levels grow, as SD 2.1's [5, 10, 20, 20] heads of 64 do.
    "sd2": {
        "block_out_channels": [16, 32, 64, 64],
        "attention_head_dim": [1, 2, 4, 4],
        "cross_attention_dim": 64,
    },
    "sdxl": {
        "block_out_channels": [16, 32, 64],
        "attention_head_dim": [1, 2, 4],
        "transformer_layers_per_block": [1, 1, 2],
        "cross_attention_dim": 32 + 64,
        "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 64 + 6 * 16,
    },
}
TEXT_WIDTHS = {"sd2": {"text_encoder": 64}, "sdxl": {"text_encoder": 32, "text_encoder_2": 64}}
PIPELINES = {"sd2": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def write_sd1(folder: Path, seed: int = 0) -> Path:
    """A random SD 1.x: four levels, 64 px native, 4.6 M parameters, fp16 on disk."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        write_folder(folder, new_unet(), new_vae(), new_text_encoder())
    return folder


def write_small_sd1(folder: Path, seed: int = 0, levels: int = 2) -> Path:
    """A random SD 1.x with each of its kinds of blocks once: two levels of one layer, 64 px native, 0.4 M parameters
    in its UNet; one level has those with attention, all of one size.

    A step takes a fifth of the time that one of `write_sd1` takes, whose blocks have the names of the real ones.
    """
    config = dict(new_unet().config) | {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")[:levels],
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")[-levels:],
        "block_out_channels": (32, 32)[:levels],
        "layers_per_block": 1,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        write_folder(folder, UNet2DConditionModel.from_config(config), new_vae(), new_text_encoder())
    return folder


def write_sd2(
    folder: Path, prediction: str = "epsilon", seed: int = 0, zero_terminal_snr: bool = False
) -> Path:
    """A random SD 2.x: linear projections, heads by level, the OpenCLIP layer count less one; 64 px native."""
    scheduler: dict[str, object] = {"prediction_type": prediction}
    if zero_terminal_snr:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return _write("sd2", folder, seed, scheduler)


def write_sdxl(folder: Path, seed: int = 0, **scheduler: object) -> Path:
    """A random SDXL: three levels (the first without attention), two text encoders, sizes and pooled text."""
    return _write("sdxl", folder, seed, scheduler)


def _write(family: str, folder: Path, seed: int, scheduler: Mapping[str, object]) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = published(family, "unet") | NARROW_UNETS[family] | {"norm_num_groups": 8, "sample_size": 8}
        unet = UNet2DConditionModel.from_config(config)
        vae = new_vae(seed)
        vae.register_to_config(scaling_factor=published(family, "vae")["scaling_factor"])
        torch.manual_seed(seed + 1)
        for part, width in TEXT_WIDTHS[family].items():
            _write_text(folder / part, family, part, width)
            tokenizer = folder / part.replace("text_encoder", "tokenizer")
            write_tokenizer(tokenizer)
            if family == "sd2" or part == "text_encoder_2":
                _pad_with_zero(tokenizer)
    for name, module in (("unet", unet), ("vae", vae)):
        _save(folder / name / "diffusion_pytorch_model.safetensors", module.state_dict())
        module.save_config(folder / name)
    _json(folder / "scheduler" / "scheduler_config.json", published(family, "scheduler") | dict(scheduler))
    _json(folder / "model_index.json", _index(family))
    return folder


def _write_text(folder: Path, family: str, part: str, width: int) -> None:
    size = len(vocabulary()[0])
    config = published(family, part) | {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": size,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
        "torch_dtype": "float32",
    }
    kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    module: nn.Module = kind(CLIPTextConfig(**config))
    _save(folder / "model.safetensors", with_level(module.state_dict()))
    _json(folder / "config.json", config)


def _pad_with_zero(folder: Path) -> None:
    # SD 2.x and SDXL's second tokenizer are published so: OpenCLIP pads with token 0, which is "!".
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        _json(file, json.loads(file.read_text()) | {"pad_token": "!"})


def _index(family: str) -> dict[str, object]:
    index: dict[str, object] = {
        "_class_name": PIPELINES[family],
        "_diffusers_version": "0.32.0",
        "scheduler": ["diffusers", published(family, "scheduler")["_class_name"]],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    index |= {"requires_safety_checker": False, "safety_checker": [None, None]} if family == "sd2" else {}
    index |= {"force_zeros_for_empty_prompt": True} if family == "sdxl" else {}
    for part in TEXT_WIDTHS[family]:
        kind = "CLIPTextModelWithProjection" if part == "text_encoder_2" else "CLIPTextModel"
        index[part] = ["transformers", kind]
        index[part.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
    return index


def _save(file: Path, state: Mapping[str, torch.Tensor]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in state.items() if value.is_floating_point()}
    save_file(half, file, metadata={"format": "pt"})


def _json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
