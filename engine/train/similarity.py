"""How near previews are to their prompts and to the pictures, by a CLIP model that lies on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.dataset.held_out import ranked
from engine.dataset.images import load_rgb
from engine.dataset.report import Item
from engine.errors import UserError
from engine.families.tokenizers import load_tokenizer
from engine.plan.schema import Plan

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on (github.com/openai/CLIP)."""
COMPARED = 16
"""The most pictures that previews are compared with."""


@dataclass(frozen=True)
class Similar:
    """Cosines of CLIP's embeddings: to the prompt (CLIP-T), and the mean to the pictures (CLIP-I), as DreamBooth's
    authors measure (Ruiz et al. 2022, arXiv:2208.12242)."""

    prompt: float
    pictures: float


class Comparison:
    """A CLIP model on the CPU, in fp32: it takes nothing of the card that trains."""

    def __init__(self, folder: Path, items: Sequence[Item], seed: int) -> None:
        """`items` are the pictures that are trained on. UserError for a folder that holds no such model."""
        from transformers import CLIPModel

        try:
            found: Any = CLIPModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            fix = "name the folder of a CLIPModel with config.json, model.safetensors and its tokenizer"
            raise UserError(f"samples.clip: {folder} holds no CLIP model", reason, fix) from error
        self._model = found.float().eval()
        self._tokenizer = load_tokenizer(folder)
        self._side = int(found.config.vision_config.image_size)
        self._pictures = torch.stack(
            [
                pixels(Image.fromarray(load_rgb(item.source)), self._side)
                for item in ranked(items, seed)[:COMPARED]
            ]
        )
        self._known: Tensor | None = None

    @classmethod
    def of(cls, plan: Plan, items: Sequence[Item]) -> Comparison | None:
        """The plan's, if it names a model."""
        if not plan.samples.clip:
            return None
        return cls(Path(plan.samples.clip).expanduser(), items, plan.samples.seed)

    @torch.no_grad()
    def compare(self, picture: Image.Image, prompt: str) -> Similar:
        """Of one preview."""
        if self._known is None:
            self._known = torch.cat([self._seen(each) for each in self._pictures])
        seen = self._seen(pixels(picture, self._side))
        text = self._read(prompt)
        return Similar(float((seen * text).sum()), float((self._known @ seen[0]).mean()))

    def _seen(self, values_chw: Tensor) -> Tensor:
        answer = self._model.vision_model(pixel_values=values_chw[None])
        return _unit(self._model.visual_projection(answer.pooler_output))

    def _read(self, text: str) -> Tensor:
        told = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = self._tokenizer([text], max_length=self._tokenizer.model_max_length, **told).input_ids
        return _unit(self._model.text_projection(self._model.text_model(input_ids=ids).pooler_output))


def pixels(picture: Image.Image, side: int) -> Tensor:
    """What CLIP sees of a picture, [3, side, side]: reduced to its shorter side, cut in the middle, standardised."""
    picture = picture.convert("RGB")
    scale = side / min(picture.size)
    wide, high = (max(side, int(length * scale)) for length in picture.size)
    left, top = (wide - side) // 2, (high - side) // 2
    cut = picture.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    values = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255
    return (values - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def _unit(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=-1, keepdim=True)
    return unit
