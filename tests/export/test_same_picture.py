"""An exported LoRA, loaded by diffusers itself, draws the picture that the engine's own preview drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from engine.train.exporting import export_all
from engine.train.sampling import PreviewRequest, draw, initial_noise
from tests.support.runs import quick_plan
from tests.support.sessions import CPU, Prepared, prepared, run_steps

STEPS, GUIDANCE, SEED = 10, 4.0, 11
PROMPT = "a picture, style 1"
# Pixels in [-1, 1]: an eighth of one of 255 levels.
LIMIT = 1e-3


def _request(made: Prepared) -> PreviewRequest:
    family = made.adapted.family
    cond, empty = (family.encode_text(family.tokenize([text])) for text in (PROMPT, ""))
    return PreviewRequest(cond, empty, SEED, STEPS, GUIDANCE, 64, 64)


def _pipeline(base: Path) -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _picture(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    said = pipe(
        PROMPT,
        latents=latents,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="pt",
        height=64,
        width=64,
    )
    picture: torch.Tensor = said.images[0] * 2 - 1
    return picture


@pytest.mark.parametrize("text_encoder", [False, True])
def test_diffusers_draws_the_same_picture(
    home: Path, sd1_folder: Path, pictures: Path, tmp_path: Path, text_encoder: bool
) -> None:
    plan = quick_plan(
        sd1_folder,
        pictures,
        train__learning_rate=2e-2,
        lora__alpha=8.0,
        lora__targets="all",
        lora__text_encoder=text_encoder,
        output__dtype="fp32",
    )
    made = prepared(plan, tmp_path / "cache")
    for part in made.adapted.family.parts.values():
        part.eval()
    with torch.no_grad():
        plain = draw(made.adapted.family, _request(made), CPU)
    run_steps(made)
    for part in made.adapted.family.parts.values():
        part.eval()
    with torch.no_grad():
        request = _request(made)
        ours = draw(made.adapted.family, request, CPU)
    assert float((ours - plain).abs().max()) > 0.1, (
        "the LoRA changed too little for this test to mean something"
    )
    latents = initial_noise(made.adapted.family, request)
    files = export_all(plan, made.adapted, tmp_path, 6, made.report.items)
    assert [file.format for file in files] == ["kohya", "diffusers"]
    for file in files:
        pipe = _pipeline(sd1_folder)
        pipe.load_lora_weights(tmp_path, weight_name=file.path.name)
        difference = float((_picture(pipe, latents) - ours).abs().max())
        print(f"{file.format}, text encoder {text_encoder}: max abs difference {difference:.2e}")
        assert difference < LIMIT
