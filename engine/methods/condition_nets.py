"""What ControlNet and T2I-Adapter share: fresh weights by name, files to start from, and their artifact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import UserError
from engine.families import ckpt
from engine.methods.artifact import Artifact
from engine.methods.base import Trainable
from engine.train.draws import generator

CONTROL = "control"
"""The name of the condition pictures in a batch, [b, c, h, w] in [0, 1]."""
PICKLES = frozenset((".ckpt", ".pt", ".pth", ".bin"))
WEIGHTS = "diffusion_pytorch_model.safetensors"


def fresh_convolutions(module: nn.Module, seed: int, name: str) -> None:
    """Give every convolution below `module` torch's own initial law, drawn by seed and name.

    torch draws from the global generator, so that a rebuilt run would start from other weights.
    """
    for path, part in module.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        draw = generator(seed, "init", f"{name}.{path}")
        with torch.no_grad():
            nn.init.kaiming_uniform_(part.weight, a=math.sqrt(5), generator=draw)
            if part.bias is not None:
                bound = 1 / math.sqrt(part.weight[0].numel())
                part.bias.uniform_(-bound, bound, generator=draw)


def trainables(module: nn.Module, name: str) -> Sequence[Trainable]:
    """Every parameter of the module; biases and norms are not decayed."""
    return [
        Trainable(f"{name}.{key}", parameter, name, None, parameter.ndim > 1)
        for key, parameter in module.named_parameters()
    ]


def artifact_of(module: nn.Module, kind: str) -> Artifact:
    """The module's weights under diffusers' names, and its config."""
    tensors = {name: value.detach().float().cpu().clone() for name, value in module.state_dict().items()}
    return Artifact(kind, tensors, {"config": dict(cast(Any, module).config)})


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a diffusers folder or of a file, by their own names; nothing in a pickle is executed.

    UserError, with the plan's `key`, for what cannot be read.
    """
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"), key=lambda file: (file.name != WEIGHTS, file.name))
        if not found:
            raise UserError(
                f"{key}: {path} holds no .safetensors file", fix="name a diffusers folder or a file"
            )
        path = found[0]
    if not path.is_file():
        raise UserError(f"{key}: {path} is not there", fix="correct the path")
    if path.suffix in PICKLES:
        return ckpt.load(path)
    try:
        return cast(dict[str, Tensor], load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{key}: {path} cannot be read", str(error), "get the file again") from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], key: str, where: str) -> None:
    """Put the weights in; UserError names the first one that is missing, left over or of another shape."""
    own = module.state_dict()
    reason = ""
    if missing := own.keys() - weights.keys():
        reason = f"it lacks {len(missing)} tensors, for example {min(missing)}"
    elif extra := weights.keys() - own.keys():
        reason = f"it has {len(extra)} tensors too many, for example {min(extra)}"
    else:
        for name, value in own.items():
            if weights[name].shape != value.shape:
                reason = f"{name} is {list(weights[name].shape)}, and {list(value.shape)} is needed"
                break
    if reason:
        fix = "choose one that was made for this family and number of channels, or leave it out"
        raise UserError(f"{key}: {where} does not fit this base model", reason, fix)
    module.load_state_dict({name: weights[name].to(value.dtype) for name, value in own.items()})
