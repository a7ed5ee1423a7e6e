"""SD 1.5 with random weights, built on the device, and cached latents and text from memory: nothing to download."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import engine
from benchmarks.workload import make_plan
from engine.dataset.report import Item
from engine.families.sd1 import StableDiffusion1
from engine.families.variance_preserving import VariancePreserving
from engine.keys import key
from engine.plan.schema import Plan
from engine.train.feeding import DataFeed
from engine.train.latents import LatentTable
from engine.train.settling import settle
from engine.train.setup import DTYPES, AdaptedModel, prepare
from engine.train.texts import TextTable

CONFIGS = Path(engine.__file__).parent / "assets" / "families" / "sd1"
TOKENS = 77
IMAGES = 64
RANK = 16


def config(name: str) -> dict[str, Any]:
    """SD 1.5's own configuration of a part."""
    found: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return found


def empty_unet(small: bool) -> nn.Module:
    """The UNet without memory: SD 1.5's (859.5 M parameters), or the built-in model's (3.4 M)."""
    from diffusers import UNet2DConditionModel

    from engine.demo.recipe import new_unet

    with torch.device("meta"):
        unet: nn.Module = new_unet() if small else UNet2DConditionModel.from_config(config("unet"))
    return unet


def fill(module: nn.Module, device: torch.device) -> nn.Module:
    """Random weights, made on the device: normal with variance 1 / fan-in, norms 1, biases 0."""
    module.to_empty(device=device)
    source = torch.Generator(device=device).manual_seed(key(0, "benchmark-weights") >> 1)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.dim() > 1:
                fan_in = value[0].numel()
                value.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=source)
            else:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
    return module


def family(unet: nn.Module) -> StableDiffusion1:
    """SD 1.x around this UNet; autoencoder and text encoder do nothing, as everything is cached."""
    configs = {"vae": config("vae"), "unet": config("unet"), "scheduler": config("scheduler")}
    schedule = VariancePreserving.from_config(configs["scheduler"])
    parts = {"unet": unet, "vae": nn.Identity(), "text_encoder": nn.Identity()}
    return StableDiffusion1(parts, {}, schedule, configs)


def lora_plan(batch: int, steps: int, precision: str, device: torch.device, side: int) -> Plan:
    """LoRA, rank 16, on the attention layers: the defaults of the plan."""
    return make_plan(
        Path("random"),
        Path("nowhere"),
        train__batch_size=batch,
        train__steps=steps,
        train__precision=precision,
        lora__rank=RANK,
        data__resolution=side,
        hardware__device=str(device),
        hardware__threads=0,
    )


def make_ready(plan: Plan, small: bool, device: torch.device) -> AdaptedModel:
    """The model with its LoRA, as the worker prepares it: the method is injected on the CPU, then all is moved.

    Weights are drawn on the device: for 859 million numbers a busy CPU took 49 s.
    """
    unet = fill(empty_unet(small), device).to(DTYPES[plan.train.precision]).cpu()
    adapted = prepare(plan, family(unet), device)
    settle(plan, adapted)
    return adapted


def make_feed(plan: Plan, adapted: AdaptedModel, images: int = IMAGES) -> DataFeed:
    """The engine's own feed over random latents and embeddings that lie in memory."""
    side = plan.data.resolution
    width = int(getattr(adapted.family.denoiser, "config")["cross_attention_dim"])  # noqa: B009 - diffusers' own attribute
    source = torch.Generator().manual_seed(1)
    captions = [f"caption {number}" for number in range(images)]
    items = [
        Item(Path("nowhere"), f"{n}.png", side, side, captions[n], "", (side, side)) for n in range(images)
    ]
    latents = {(n, False): _latent(side, source) for n in range(images)}
    compute = DTYPES[adapted.precision]
    texts = {
        text: {"hidden": torch.randn(TOKENS, width, generator=source).to(compute)} for text in ["", *captions]
    }
    there = adapted.device
    return DataFeed(plan, items, LatentTable(latents, there), TextTable(texts, there), there)


def _latent(side: int, source: torch.Generator) -> Tensor:
    """Mean and standard deviation, [2, 4, side/8, side/8]."""
    mean = torch.randn(4, side // 8, side // 8, generator=source)
    return torch.stack([mean, torch.full_like(mean, 0.1)])


@contextmanager
def _unfused_attention() -> Iterator[None]:
    # Fused attention's backward is counted with its recomputation (5 matmuls for 2); plain matmuls are 4 for 2.
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def flops_per_image(small: bool, side: int) -> float:
    """Floating point operations of forward and backward for one picture, a multiply-add as 2, no recomputation.

    Counted by torch.utils.flop_counter on tensors without memory: the same on every machine.
    """
    from torch.utils.flop_counter import FlopCounterMode

    meta = torch.device("meta")
    plan = lora_plan(1, 1, "fp32", torch.device("cpu"), side)
    adapted = prepare(plan, family(empty_unet(small)), meta)
    settle(plan, adapted)
    unet: Any = adapted.family.denoiser
    width = int(unet.config["cross_attention_dim"])
    noisy = torch.empty(1, 4, side // 8, side // 8, device=meta)
    times = torch.empty(1, dtype=torch.int64, device=meta)
    counter = FlopCounterMode(display=False)
    with _unfused_attention(), counter:
        out = unet(noisy, times, torch.empty(1, TOKENS, width, device=meta), return_dict=False)[0]
        out.sum().backward()
    return float(counter.get_total_flops())
