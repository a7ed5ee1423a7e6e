"""Depth by a model of transformers (Depth Anything, DPT and what else AutoModelForDepthEstimation knows).

Near is white, as in MiDaS's maps that ControlNet's depth models were trained with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from transformers import AutoModelForDepthEstimation

from engine.dataset.annotators import Maker
from engine.dataset.images import Pixels
from engine.dataset.makers.nets import MEAN, STD, as_tensor, grey, preparation, pretrained, resized

# Their answer grows towards the camera; any other's is a distance.
INVERSE = ("dpt", "depth_anything")
DEFAULT_SIDE = 384


def load(folders: Sequence[Path]) -> Maker:
    """The maker of the model in the one folder."""
    (folder,) = folders
    model, said = pretrained(AutoModelForDepthEstimation, folder), preparation(folder)
    metric = getattr(model.config, "depth_estimation_type", "relative") == "metric"
    inverse = model.config.model_type in INVERSE and not metric

    @torch.no_grad()
    def make(picture: Pixels) -> Pixels:
        high, wide = picture.shape[:2]
        small = resized(picture, *input_size(wide, high, said), Image.Resampling.BICUBIC)
        pixels = as_tensor(small, said.get("image_mean", MEAN), said.get("image_std", STD))
        depth = model(pixel_values=pixels).predicted_depth[:, None].float()
        whole = interpolate(depth, size=(high, wide), mode="bicubic", align_corners=False)[0, 0].numpy()
        near = whole if inverse else -whole
        low, top = float(near.min()), float(near.max())
        return grey((near - low) / (top - low) if top > low else np.zeros_like(near))

    return make


def input_size(wide: int, high: int, said: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that a model sees, by its preprocessor's rule (transformers' DPTImageProcessor)."""
    size, step = said.get("size", {}), int(said.get("ensure_multiple_of", 1))
    across = int(size.get("width", DEFAULT_SIDE)) / wide
    down = int(size.get("height", DEFAULT_SIDE)) / high
    if said.get("keep_aspect_ratio", False):
        across = down = across if abs(1 - across) < abs(1 - down) else down
    return max(step, round(across * wide / step) * step), max(step, round(down * high / step) * step)
