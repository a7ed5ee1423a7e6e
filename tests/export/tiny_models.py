"""Tiny random Stable Diffusion models, adapted by peft, and what the exporters need to know of them."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.export.base import About, ExportRequest, ModelFacts
from engine.methods.artifact import Artifact
from engine.models.published import published

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
FEED_FORWARD = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = [
    *FEED_FORWARD,
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
]
EVERYTHING = [*CONVOLUTIONS, "conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]

_TEXT_SIZES = {"text_encoder": 32, "text_encoder_2": 48}


def unet_config(family: str) -> dict[str, Any]:
    """The family's own block structure with narrow widths."""
    width = 80 if family == "sdxl" else 32
    config = published(family, "unet") | {
        "cross_attention_dim": width,
        "norm_num_groups": 8,
        "sample_size": 8,
        "block_out_channels": [16, 32, 48, 48] if family != "sdxl" else [16, 32, 48],
        "attention_head_dim": 2 if family == "sd1" else [2, 4, 6, 6] if family == "sd2" else [2, 4, 6],
    }
    if family == "sdxl":
        config |= {
            "transformer_layers_per_block": [1, 2, 3],
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 48 + 6 * 8,
        }
    return config


def text_config(family: str, part: str) -> dict[str, Any]:
    width = _TEXT_SIZES[part]
    projection = {"projection_dim": width} if part == "text_encoder_2" else {}
    return (
        published(family, part)
        | projection
        | {
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 100,
            "max_position_embeddings": 12,
        }
    )


def text_parts(family: str) -> tuple[str, ...]:
    return ("text_encoder", "text_encoder_2") if family == "sdxl" else ("text_encoder",)


def make_parts(family: str, seed: int = 0) -> dict[str, nn.Module]:
    """Random UNet and text encoders; the same seed gives the same weights."""
    torch.manual_seed(seed)
    parts: dict[str, nn.Module] = {"unet": UNet2DConditionModel.from_config(unet_config(family)).eval()}
    for part in text_parts(family):
        kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
        parts[part] = kind(CLIPTextConfig(**text_config(family, part))).eval()
    return parts


def adapt(module: nn.Module, targets: list[str], seed: int = 1, **options: Any) -> None:
    """Injects a peft LoRA whose both halves are random, as after training."""
    inject_adapter_in_model(LoraConfig(target_modules=targets, **options), module, adapter_name="default")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        elif ".lora_magnitude_vector." in name:
            parameter.data *= 0.5 + torch.rand(parameter.shape, generator=generator)


def artifact_of(parts: dict[str, nn.Module], **facts: object) -> Artifact:
    """What a LoRA method hands over: canonical names with `text_model.`, fp32 on the CPU."""
    tensors: dict[str, torch.Tensor] = {}
    for part, module in parts.items():
        for name, parameter in module.named_parameters():
            if ".lora_" not in name:
                continue
            plain = name.replace(".default", "")
            if part.startswith("text_encoder") and not plain.startswith("text_model."):
                plain = f"text_model.{plain}"
            tensors[f"{part}.{plain}"] = parameter.detach().clone()
    return Artifact("lora", tensors, dict(facts))


def request(
    artifact: Artifact, out: Path, family: str = "sd1", dtype: torch.dtype = torch.float32, **about: Any
) -> ExportRequest:
    facts: dict[str, Any] = {
        "name": "my-cat",
        "plan_hash": "p" * 64,
        "base_model": "builtin:tiny",
        "base_hash": "b" * 64,
        "created": 1_700_000_000.0,
        "trigger_words": ("sks cat",),
        "images": 12,
    }
    model = ModelFacts(family, "epsilon", {"unet": unet_config(family)})
    return ExportRequest(artifact, model, About(**{**facts, **about}), 100, out, dtype)


def pipeline(family: str, parts: dict[str, nn.Module]) -> Any:
    """diffusers' own pipeline around the parts; what a LoRA is loaded into."""
    scheduler = DDIMScheduler.from_config(published(family, "scheduler"))
    if family == "sdxl":
        return StableDiffusionXLPipeline(
            vae=None, tokenizer=None, tokenizer_2=None, scheduler=scheduler, **parts, add_watermarker=False
        )
    return StableDiffusionPipeline(
        vae=None,
        tokenizer=None,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **parts,
    )


@torch.no_grad()
def outputs(family: str, parts: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """One call of each part on fixed inputs."""
    generator = torch.Generator().manual_seed(7)
    config = unet_config(family)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    words = torch.randn(2, 12, config["cross_attention_dim"], generator=generator)
    ids = torch.randint(3, 99, (2, 12), generator=generator)
    extra: dict[str, Any] = {}
    if family == "sdxl":
        pooled = torch.randn(2, 48, generator=generator)
        sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
        extra = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
    results = {"unet": parts["unet"](latents, torch.tensor([10, 500]), words, **extra).sample}
    for part in text_parts(family):
        results[part] = parts[part](ids).last_hidden_state
    return results


@contextmanager
def diffusers_log() -> Iterator[io.StringIO]:
    """What diffusers warns about meanwhile; wrong keys are only ever told there."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = diffusers_logging.get_logger("diffusers")
    logger.addHandler(handler)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
