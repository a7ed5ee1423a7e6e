"""What a loaded family answers, and a model's folder as one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from engine.families.base import Conditioning, Geometry, ModelFamily
from engine.families.load import load_family
from engine.families.single_file import write_single_file

WORDS = ["a big red circle on the left!", ""]
GEOMETRY = [Geometry((80, 100), (0, 7), (64, 72)), Geometry((64, 64), (3, 0), (64, 64))]


def conditioning(family: ModelFamily) -> Conditioning:
    """What two prompts and two sizes give."""
    return family.with_geometry(family.encode_text(family.tokenize(WORDS)), GEOMETRY)


@torch.no_grad()
def answers(family: ModelFamily) -> dict[str, torch.Tensor]:
    """Everything that a family computes, in fp32, for fixed inputs."""
    for part in family.parts.values():
        part.float()
    draw = torch.Generator().manual_seed(0)
    pixels, noisy = torch.rand(2, 3, 64, 64, generator=draw), torch.randn(2, 4, 8, 8, generator=draw)
    cond, times = conditioning(family), torch.tensor([10, 999])
    mean, std = family.encode_image(pixels * 2 - 1)
    return {
        **cond.rows(),
        "mean": mean,
        "std": std,
        "prediction": family.denoise(noisy, times, cond, {}),
        "target": family.schedule.target(mean, noisy, times),
        "pixels": family.decode_latents(mean),
    }


def as_file(folder: Path, out: Path) -> Path:
    """The folder's model as one file in a new folder, with CLIP's tokenizer (padded by its end token) beside it."""
    family = load_family(folder)
    states = {name: part.state_dict() for name, part in family.parts.items()}
    out.parent.mkdir()
    write_single_file(out, family.spec.name, states, {k: dict(v) for k, v in family.configs.items()})
    shutil.copytree(folder / "tokenizer", out.parent / "tokenizer")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = out.parent / "tokenizer" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<|endoftext|>"}))
    return out
