"""How many numbers each part of a base model holds, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.bases import ASSETS, BaseInfo, read_config
from engine.models.layers import unet_layers
from engine.tensorfiles.header import Header, read_header

# Counted on diffusers' own modules (meta device); local safetensors are read instead where there are any.
VAE, CLIP_L = 83_653_863, 123_060_480
PARAMETERS: dict[str, dict[str, int]] = {
    "sd1": {"unet": 859_520_964, "vae": VAE, "text_encoder": CLIP_L},
    "sd2": {"unet": 865_910_724, "vae": VAE, "text_encoder": 340_387_840},
    "sdxl": {"unet": 2_567_463_684, "vae": VAE, "text_encoder": CLIP_L, "text_encoder_2": 694_659_840},
}


def family_of(base: BaseInfo | None, named: str) -> str:
    """The base's family; where that is not known the plan's, or else SD 1.x."""
    known = base.family if base is not None and base.family else named
    return known if known in PARAMETERS else "sd1"


def part_config(base: BaseInfo | None, family: str, part: str) -> dict[str, Any]:
    """A part's config: from the base's own folder, or as the family publishes it."""
    folder = base.path if base is not None and base.path is not None and base.path.is_dir() else None
    own = read_config(folder / part / "config.json") if folder else {}
    return own or read_config(ASSETS / "families" / family / f"{part}.json")


def part_parameters(base: BaseInfo | None, family: str = "sd1") -> dict[str, int]:
    """Numbers in each part of the base: read from its safetensors, or the family's known counts."""
    if base is None or base.path is None:
        return dict(PARAMETERS[family])
    parts = tuple(PARAMETERS[family])
    try:
        counts = _from_folder(base.path, parts) if base.path.is_dir() else _from_file(base.path, parts)
    except UserError:
        counts = {}
    return {**PARAMETERS[family], **counts}


def _from_folder(folder: Path, parts: tuple[str, ...]) -> dict[str, int]:
    counts = {}
    for part in parts:
        # Folders often hold the same weights twice (fp16 and fp32 variants): the first set counts.
        files = sorted(
            (folder / part).glob("*.safetensors"), key=lambda path: (path.name.count("."), path.name)
        )
        if files:
            counts[part] = _count(read_header(files[0]), "")
    return counts


def _from_file(path: Path, parts: tuple[str, ...]) -> dict[str, int]:
    if path.suffix != ".safetensors":
        return {}
    header = read_header(path)
    first = "conditioner.embedders.0." if "text_encoder_2" in parts else "cond_stage_model."
    prefixes = {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": first,
        "text_encoder_2": "conditioner.embedders.1.",
    }
    return {part: _count(header, prefixes[part]) for part in parts}


def _count(header: Header, prefix: str) -> int:
    total = 0
    for name, info in header.tensors.items():
        if name.startswith(prefix):
            size = 1
            for side in info.shape:
                size *= side
            total += size
    return total


def scaled_parameters(config: Mapping[str, Any], fresh: Mapping[str, Any], parameters: int) -> int:
    """The parameters of a UNet of the config `fresh`, where one of `config` has so many."""
    if fresh == config:
        return parameters
    before, after = _weights(config), _weights(fresh)
    return round(parameters * after / before)


def _weights(config: Mapping[str, Any]) -> int:
    return sum(layer.inputs * layer.outputs * layer.kernel**2 for layer in unet_layers(dict(config)))
