"""Finds a CLIP tokenizer's folder on this machine, since single files carry none; needs neither torch nor network."""

from __future__ import annotations

from pathlib import Path

from engine.errors import UserError
from engine.hub import hub_cache, snapshot
from engine.installing import hub_download

CLIP = "openai/clip-vit-large-patch14"
FILES = ("vocab.json", "merges.txt")


def find_tokenizer(
    model: Path | None = None, given: str | Path | None = None, *, part: str = "tokenizer"
) -> Path:
    """A folder with vocab.json and merges.txt: the one given, the model's own, or CLIP's in the hub cache.

    `model` is a diffusers folder (its `part` subfolder is meant) or a single file (a `tokenizer` folder or
    the two files beside it). UserError lists every place that was looked at and what is missing there.
    """
    places = [Path(given).expanduser()] if given else _places(model, part)
    looked: list[str] = []
    for place in places:
        missing = _missing(place)
        if not missing:
            return place
        looked.append(f"{place} lacks {' and '.join(missing)}")
    raise UserError(
        "no CLIP tokenizer was found: " + " and ".join(FILES) + " are needed",
        why="; ".join(looked),
        fix=f"run `{hub_download(CLIP, *FILES, 'tokenizer_config.json')}` once,"
        " or copy the two files from any SD 1.x folder's tokenizer/ and set base.tokenizer to that folder",
    )


def _places(model: Path | None, part: str) -> list[Path]:
    places: list[Path] = []
    if model is not None and model.is_dir():
        places.append(model / part)
    elif model is not None:
        # SDXL's two tokenizers have one vocabulary, so the first one's folder also serves the second encoder.
        places += [model.parent / part, model.parent / "tokenizer", model.parent]
    return places + _cached()


def _missing(folder: Path) -> list[str]:
    if (folder / "tokenizer.json").is_file():
        return []
    return [name for name in FILES if not (folder / name).is_file()]


def _cached() -> list[Path]:
    """CLIP's folder in the Hugging Face hub's cache, or where it would be."""
    return [snapshot(CLIP) or hub_cache() / f"models--{CLIP.replace('/', '--')}"]
