"""Steps 1 to 3 against a computation written here from torch, diffusers and peft alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from engine.draws import generator
from engine.keys import uniform
from tests.support.draws import normal
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared

TARGETS = [".to_q", ".to_k", ".to_v", ".to_out.0"]
SEED, BATCH, RANK, ALPHA, RATE = 7, 2, 4, 8.0, 1e-3


def _randn(purpose: str, step: int, slot: int) -> torch.Tensor:
    return normal(SEED, purpose, step, slot, (4, 8, 8))


Gradients = dict[str, torch.Tensor]


def _reference(base: Path, folder: Path, orders: list[list[int]]) -> tuple[list[float], list[Gradients]]:
    """Losses and clipped gradients of three steps."""
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae", torch_dtype=torch.float32)
    encoder = CLIPTextModel.from_pretrained(base, subfolder="text_encoder", torch_dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    noise_schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    for module in (unet, vae, encoder):
        module.requires_grad_(False).eval()
    names = [n for n, _ in unet.named_modules() if n.endswith(tuple(TARGETS))]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names), unet)
    lora = {n: p for n, p in unet.named_parameters() if "lora_" in n}
    for name, value in lora.items():
        if "lora_A" in name:
            draw = generator(SEED, "init", f"unet.{name}")
            torch.nn.init.kaiming_uniform_(value.data, a=math.sqrt(5), generator=draw)
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(list(lora.values()), lr=RATE, weight_decay=0.01, fused=True)
    files = sorted(folder.glob("*.png"))
    losses, gradients = [], []
    for step, rows in enumerate(orders, 1):
        latents, hidden, noises, times = [], [], [], []
        for slot, row in enumerate(rows):
            pixels = torch.from_numpy(np.array(Image.open(files[row]).convert("RGB"))).float() / 127.5 - 1
            posterior = vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist
            scale = vae.config.scaling_factor
            latents.append(posterior.mean * scale + posterior.std * scale * _randn("latent", step, slot))
            noises.append(_randn("noise", step, slot)[None])
            times.append(int(uniform(SEED, "timestep", step, slot) * 1000))
            text = files[row].with_suffix(".txt").read_text()
            ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
            hidden.append(encoder(ids)[0])
        noise, time = torch.cat(noises), torch.tensor(times)
        noisy = noise_schedule.add_noise(torch.cat(latents), noise, time)
        loss = ((unet(noisy, time, torch.cat(hidden)).sample - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(lora.values()), 1.0)
        optimizer.step()
        losses.append(float(loss))
        gradients.append({f"unet.{name}": value.grad.clone() for name, value in lora.items()})
    return losses, gradients


def test_lora_steps_equal_plain_torch(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=5)
    plan = quick_plan(
        small_sd1,
        folder,
        seed=SEED,
        train__steps=3,
        train__batch_size=BATCH,
        train__learning_rate=RATE,
        lora__rank=RANK,
        lora__alpha=ALPHA,
        data__caption_dropout=0.0,
    )
    made = prepared(plan, tmp_path / "cache")
    losses, gradients = [], []
    for (report,) in made.loop.run(0, lambda step: True):
        losses.append(report.loss)
        found = {item.name: item.parameter.grad for item in made.adapted.trainables}
        gradients.append({name: value.clone() for name, value in found.items() if value is not None})
    orders = [[int(row) for row in made.feed.order.batch(index)] for index in range(3)]
    expected_losses, expected_gradients = _reference(small_sd1, folder, orders)
    assert max(abs(one - other) for one, other in zip(losses, expected_losses, strict=True)) < 1e-6
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert ours.keys() == theirs.keys()
        assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-6
