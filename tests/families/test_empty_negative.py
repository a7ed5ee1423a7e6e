"""A preview without a negative prompt leads away from the encoded empty text, which is what dropped captions train."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image

from engine.families.load import load_family
from engine.run.kinds import Sample
from engine.train.previews import Previewer
from engine.train.sampling import PreviewRequest, initial_noise
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared

STEPS, GUIDANCE, SIDE, PROMPT, SEED = 4, 5.0, 64, "a big red circle on the left", 9


def _ours(base: Path, folder: Path, negative: str) -> tuple[np.ndarray[Any, Any], torch.Tensor]:
    """The preview's file, and the noise that it started from."""
    plan = quick_plan(
        base, write_pictures(folder / "pictures", count=1), samples__steps=STEPS, samples__guidance=GUIDANCE,
        samples__negative=negative, samples__seed=SEED, samples__prompts=[PROMPT], samples__every=1,
    )  # fmt: skip
    made = prepared(plan, folder / "cache")
    told: list[Sample] = []
    previewer = Previewer(plan, made.adapted, folder / "samples", told.append, [PROMPT])
    assert previewer.draw_all(1) == 1, told
    (file,) = (folder / "samples").glob("*.png")
    cond: Any = None
    noise = initial_noise(made.adapted.family, PreviewRequest(cond, cond, SEED, STEPS, GUIDANCE, SIDE, SIDE))
    return np.asarray(Image.open(file)).astype(int), noise


def _theirs(base: Path, noise: torch.Tensor, negative: str | None) -> np.ndarray[Any, Any]:
    kind: Any = StableDiffusionXLPipeline if (base / "text_encoder_2").is_dir() else StableDiffusionPipeline
    pipeline = kind.from_pretrained(base, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        prompt=PROMPT, negative_prompt=negative, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
        width=SIDE, height=SIDE, latents=noise, output_type="pil",
    ).images  # fmt: skip
    return np.asarray(images[0]).astype(int)


@pytest.mark.parametrize("name", ["sd1", "sd2-eps", "sdxl", "sdxl whose index says zeros"])
def test_without_a_negative_prompt_a_preview_leads_away_from_the_empty_text(
    name: str, narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    base = narrow_models[name.partition(" ")[0]]
    if name.endswith("zeros"):
        base = shutil.copytree(base, tmp_path / "base")
        index = json.loads((base / "model_index.json").read_text()) | {"force_zeros_for_empty_prompt": True}
        (base / "model_index.json").write_text(json.dumps(index))
    ours, noise = _ours(base, tmp_path, "")
    assert np.abs(ours - _theirs(base, noise, "")).max() <= 1
    if name.endswith("zeros"):
        assert np.abs(ours - _theirs(base, noise, None)).max() > 1, "zeros draw something else"


def test_a_negative_prompt_of_sdxl_is_encoded(
    narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    ours, noise = _ours(narrow_models["sdxl"], tmp_path, "blue")
    assert np.abs(ours - _theirs(narrow_models["sdxl"], noise, "blue")).max() <= 1


@pytest.mark.parametrize("cached", ["on", "off"])
def test_dropped_captions_train_what_previews_lead_away_from(
    cached: str, narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    base = narrow_models["sdxl"]
    pictures = write_pictures(tmp_path / "pictures", count=2)
    plan = quick_plan(base, pictures, data__caption_dropout=1.0, data__cache_text=cached)
    made = prepared(plan, tmp_path / "cache")
    (batch,) = made.feed.step(1, 2)
    family = load_family(base)
    for part in family.parts.values():
        part.float()
    with torch.no_grad():
        encoded = family.encode_text(family.tokenize([""]))
    for name, value in encoded.rows().items():
        assert float((batch.cond().rows()[name] - value).abs().max()) < 1e-5
        assert float(value.abs().max()) > 0.01
