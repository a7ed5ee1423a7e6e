"""How well a model follows its prompts: pictures of held-out prompts, read back by the world's checker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from engine.demo.checker import read_picture
from engine.demo.world import Picture, Scene
from engine.families.base import ModelFamily
from engine.train.previews import to_image
from engine.train.sampling import PreviewRequest, draw_batch

BATCH = 40
GUIDANCE = 3.0
STEPS = 25


def draw_prompts(
    family: ModelFamily, prompts: Sequence[str], seed: int = 0, guidance: float = GUIDANCE, steps: int = STEPS
) -> list[Picture]:
    """One 64 px picture a prompt, uint8 [64, 64, 3]; the seed counts up with the prompts."""
    pictures: list[Picture] = []
    device = next(family.denoiser.parameters()).device
    with torch.no_grad():
        empty = family.encode_text(family.tokenize([""]))
        for first in range(0, len(prompts), BATCH):
            texts = prompts[first : first + BATCH]
            conds = [family.encode_text(family.tokenize([text])) for text in texts]
            requests = [
                PreviewRequest(cond, empty, seed + first + at, steps, guidance, 64, 64)
                for at, cond in enumerate(conds)
            ]
            pictures += [np.asarray(to_image(pixels)) for pixels in draw_batch(family, requests, device)]
    return pictures


def agreement(pictures: Sequence[Picture], scenes: Sequence[Scene]) -> dict[str, float]:
    """For each attribute, the share of pictures that show what their scene asks for."""
    hits = [read_picture(picture).agrees(scene) for picture, scene in zip(pictures, scenes, strict=True)]
    return {name: sum(hit[name] for hit in hits) / len(hits) for name in hits[0]}


def mean_score(pictures: Sequence[Picture], score: Callable[[Picture], float]) -> float:
    """The mean of a style's or subject's score."""
    return sum(score(picture) for picture in pictures) / len(pictures)


def contact_sheet(pictures: Sequence[Picture], columns: int, scale: int = 2, gap: int = 4) -> Image.Image:
    """Pictures in rows, left to right, enlarged without smoothing."""
    side = pictures[0].shape[0] * scale
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (gap + columns * (side + gap), gap + rows * (side + gap)), (30, 30, 34))
    for index, picture in enumerate(pictures):
        tile = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (gap + index % columns * (side + gap), gap + index // columns * (side + gap)))
    return sheet
