"""Sentences about pictures by BLIP and its like, through transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engine.dataset.images import Pixels
from engine.dataset.metadata import clean
from engine.errors import UserError


def load(folder: Path, device: str, most: int) -> Callable[[Pixels], str]:
    """What writes a sentence of `most` tokens at most about a picture (uint8, H x W x 3, RGB).

    Only safetensors are loaded and no code of the folder is run. The same picture gives the same sentence.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    place = (
        torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device == "auto"
        else torch.device(device)
    )
    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, **only)
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **only)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"the model in {folder} cannot be loaded",
            (str(error).splitlines() or [type(error).__name__])[0],
            "get the folder again: it needs config.json, model.safetensors, a tokenizer and a preprocessor_config.json",
        ) from None
    model.eval().requires_grad_(False).to(place)

    @torch.no_grad()
    def describe(pixels: Pixels) -> str:
        given = processor(images=Image.fromarray(pixels), return_tensors="pt").to(place)
        ids = model.generate(pixel_values=given["pixel_values"], max_new_tokens=most, do_sample=False)
        return clean(processor.decode(ids[0], skip_special_tokens=True))

    return describe
