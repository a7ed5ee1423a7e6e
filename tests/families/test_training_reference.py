"""The first two losses of each family equal a computation written here with diffusers and transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.keys import uniform
from tests.support.draws import normal
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps

SEED, SIDE, STEPS = 7, 64, 2
# Each picture's (width, height): larger than the bucket, so that size and crop are worth telling.
SIZES = ((160, 128), (96, 96), (128, 112))


def _pictures(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate(SIZES):
        array = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
        Image.fromarray(array).resize((width, height)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a blue circle number {index}")
    return folder


def _randn(purpose: str, step: int, shape: tuple[int, ...]) -> torch.Tensor:
    return normal(SEED, purpose, step, 0, shape)[None]


def _hidden(base: Path, caption: str, sdxl: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    hidden, pooled = [], None
    for part in ("text_encoder", "text_encoder_2") if sdxl else ("text_encoder",):
        kind: Any = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
        encoder = kind.from_pretrained(base, subfolder=part, torch_dtype=torch.float32).eval()
        tokenizer = CLIPTokenizer.from_pretrained(base, subfolder=part.replace("text_encoder", "tokenizer"))
        ids = tokenizer(caption, padding="max_length", max_length=77, return_tensors="pt").input_ids
        answer = encoder(ids, output_hidden_states=True)
        hidden.append(answer.hidden_states[-2] if sdxl else answer[0])
        pooled = answer[0]
    return torch.cat(hidden, dim=-1), pooled if sdxl else None


@torch.no_grad()
def _loss(
    base: Path, folder: Path, row: int, size: tuple[int, int], crop: tuple[int, int], step: int
) -> float:
    sdxl = (base / "text_encoder_2").is_dir()
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae", torch_dtype=torch.float32)
    schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    picture = Image.open(folder / f"{row}.png")
    array = _cut(picture, size, crop)
    pixels = torch.from_numpy(array).float().permute(2, 0, 1)[None] / 127.5 - 1
    posterior = vae.encode(pixels).latent_dist
    shape = tuple(posterior.mean.shape[1:])
    latents = (posterior.mean + posterior.std * _randn("latent", step, shape)) * vae.config.scaling_factor
    noise, time = (
        _randn("noise", step, shape),
        torch.tensor([int(uniform(SEED, "timestep", step, 0) * 1000)]),
    )
    hidden, pooled = _hidden(base, f"a blue circle number {row}", sdxl)
    numbers = torch.tensor([[picture.height, picture.width, *crop, size[1], size[0]]], dtype=torch.float32)
    added = {"text_embeds": pooled, "time_ids": numbers} if sdxl else None
    answer = unet(schedule.add_noise(latents, noise, time), time, hidden, added_cond_kwargs=added).sample
    velocity = schedule.config.prediction_type == "v_prediction"
    target = schedule.get_velocity(latents, noise, time) if velocity else noise
    return float(((answer - target) ** 2).mean())


def _cut(picture: Image.Image, size: tuple[int, int], crop: tuple[int, int]) -> np.ndarray[Any, Any]:
    scale = max(size[0] / picture.width, size[1] / picture.height)
    top, left = crop[0] / scale, crop[1] / scale
    box = (
        left,
        top,
        min(picture.width, left + size[0] / scale),
        min(picture.height, top + size[1] / scale),
    )
    return np.array(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box))


@pytest.mark.parametrize("name", ["sd1", "sd2-eps", "sd2-v", "sdxl"])
def test_losses_are_those_of_plain_diffusers(
    name: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base, folder = narrow_models[name], _pictures(tmp_path / "pictures")
    plan = quick_plan(
        base, folder, seed=SEED, train__steps=STEPS, train__batch_size=1, train__learning_rate=1e-12,
        data__caption_dropout=0.0, data__resolution=SIDE,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    reports = run_steps(made)
    for report in reports:
        row = int(made.feed.order.batch(report.step - 1)[0])
        item = made.report.items[row]
        scale = max(item.size[0] / item.width, item.size[1] / item.height)
        corner = tuple(
            round((side * scale - wanted) * 0.5)
            for side, wanted in zip((item.height, item.width), (item.size[1], item.size[0]), strict=True)
        )
        expected = _loss(base, folder, int(item.path.stem), item.size, (corner[0], corner[1]), report.step)
        assert report.loss == pytest.approx(expected, abs=1e-5)
