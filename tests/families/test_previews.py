"""Previews are what diffusers' own pipelines draw from the same model and the same starting noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from engine.families.base import Conditioning, Geometry, ModelFamily
from engine.families.load import load_family
from engine.train.sampling import PreviewRequest, draw, initial_noise
from tests.support.schedules import alphas_of

# Largest differences measured: 1.5e-6 (pixels in 0..1, fp32, 5 steps, guidance 5).
LIMIT = 1e-5
STEPS, GUIDANCE, WIDTH, HEIGHT = 5, 5.0, 64, 48
PROMPT, NEGATIVE = "a big red circle on the left", "blue"


def _cond(family: ModelFamily, text: str) -> Conditioning:
    cond = family.encode_text(family.tokenize([text]))
    return family.with_geometry(cond, [Geometry((HEIGHT, WIDTH), (0, 0), (HEIGHT, WIDTH))])


def _ours(folder: Path, rescale: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    family = load_family(folder)
    for part in family.parts.values():
        part.float()
    with torch.no_grad():
        request = PreviewRequest(
            _cond(family, PROMPT), _cond(family, NEGATIVE), 3, STEPS, GUIDANCE, WIDTH, HEIGHT, rescale
        )
    return draw(family, request, torch.device("cpu")) / 2 + 0.5, initial_noise(family, request)


def _theirs(folder: Path, name: str, noise: torch.Tensor, rescale: float = 0.0) -> torch.Tensor:
    kind: Any = StableDiffusionXLPipeline if name == "sdxl" else StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    # SDXL's own scheduler (Euler) does not clip; DDIM would, where the config does not speak of it.
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.init_noise_sigma == 1.0
    images = pipeline(
        prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
        width=WIDTH, height=HEIGHT, latents=noise, guidance_rescale=rescale, output_type="pt",
    ).images  # fmt: skip
    picture: torch.Tensor = images[0]
    return picture


@pytest.mark.parametrize(
    ("name", "rescale"), [("sd1", 0.0), ("sd2-eps", 0.0), ("sd2-v", 0.0), ("sdxl", 0.0), ("sd2-v", 0.7)]
)
def test_a_preview_is_the_picture_of_diffusers_pipeline(
    name: str, rescale: float, narrow_models: dict[str, Path]
) -> None:
    ours, noise = _ours(narrow_models[name], rescale)
    theirs = _theirs(narrow_models[name], name, noise, rescale)
    assert ours.shape == theirs.shape == (3, HEIGHT, WIDTH)
    inside = ((theirs > 0.01) & (theirs < 0.99)).float().mean()
    assert inside > 0.2 and theirs.std() > 0.01, "a flat or burnt picture would prove nothing"
    difference = float((ours - theirs).abs().max())
    print(f"{name}: {difference:.2e}")
    assert difference < LIMIT


def test_rescaled_guidance_is_another_picture(narrow_models: dict[str, Path]) -> None:
    plain, rescaled = (_ours(narrow_models["sd2-v"], share)[0] for share in (0.0, 0.7))
    assert float((plain - rescaled).abs().max()) > 0.01


def test_an_epsilon_model_without_signal_at_the_end_draws_finite_pictures(
    tmp_path: Path, narrow_models: dict[str, Path]
) -> None:
    from tests.support.models import write_sd2

    folder = write_sd2(tmp_path / "odd", "epsilon", zero_terminal_snr=True)
    family = load_family(folder)
    assert family.schedule.timetable(STEPS, (4, 8, 8))[0] == 999
    assert float(alphas_of(family)[-1]) == 0.0
    ours, _ = _ours(folder)
    assert torch.isfinite(ours).all()
