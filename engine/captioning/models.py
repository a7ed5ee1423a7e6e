"""Finds the model that is to write captions, and says what kind it is; nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import UserError
from engine.files import expanded
from engine.hub import is_hub_id, snapshot
from engine.installing import hub_download

KNOWN = {
    "blip": ("Salesforce/blip-image-captioning-base", ()),
    "wd14": ("SmilingWolf/wd-vit-tagger-v3", ("model.onnx", "selected_tags.csv")),
}
"""Short names, with the hub's id and the files that are needed; none are all."""
DESCRIBERS = frozenset({"blip", "blip-2", "git"})
"""transformers' types of models that write a sentence about a picture and take nothing but the picture."""
NETWORK, TAGS = "model.onnx", "selected_tags.csv"


@dataclass(frozen=True)
class Captioner:
    """A describer writes sentences (transformers), a tagger lists tags (ONNX); `folder` has its files."""

    kind: Literal["describer", "tagger"]
    folder: Path


def find(model: str) -> Captioner:
    """The model of a short name, a folder, or a hub id in the hub's cache; UserError with the way to get it."""
    folder = _folder(model)
    if (folder / NETWORK).is_file() and (folder / TAGS).is_file():
        return Captioner("tagger", folder)
    kind = _type(folder)
    if kind in DESCRIBERS:
        return Captioner("describer", folder)
    what = f"{folder} is of type {kind}" if kind else f"{folder} holds no model that writes captions"
    why = f"a describer has a config.json of type {', '.join(sorted(DESCRIBERS))}, a tagger has {NETWORK} and {TAGS}"
    raise UserError(what, why, f"for example: {_how('blip')}, or {_how('wd14')}")


def _folder(model: str) -> Path:
    name, _ = KNOWN.get(model, (model, ()))
    path = expanded(Path(name))
    if path.is_dir():
        return path
    if path.is_file() and path.suffix == ".onnx":
        return path.parent
    if not is_hub_id(name):
        known = ", ".join(KNOWN)
        raise UserError(
            f"{model} is no folder", f"a model is a folder, a hub id, or one of {known}", "correct --model"
        )
    if found := snapshot(name):
        return found
    raise UserError(
        f"{name} is not on this machine",
        "it is in no folder of that name and not in the hub's cache, and nothing is downloaded here",
        _how(model) if model in KNOWN else hub_download(name),
    )


def _how(known: str) -> str:
    name, files = KNOWN[known]
    return hub_download(name, *files)


def _type(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind if isinstance(kind, str) else ""
