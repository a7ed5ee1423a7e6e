"""Hypernetworks as AUTOMATIC1111's `.pt` file, which ComfyUI reads too."""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import TRAINED, Composed, ExportRequest
from engine.export.legacy_pickle import PickleFormat, origin, packed

SHORT = 10


def pack(request: ExportRequest) -> dict[Any, Any]:
    """The dict that is pickled: a pair of state dicts by width (a number), and what readers ask for by name.

    Dropout trains and is not written, as ComfyUI would go on dropping; the layers' numbers in `linear` are
    those of a network without it.
    """
    facts, about = request.artifact.facts, request.about
    stride = 1 if facts["activation"] == "linear" else 2
    sides: dict[int, dict[str, dict[str, Tensor]]] = {}
    for name, value in request.artifact.tensors.items():
        if not torch.isfinite(value).all():
            raise UserError(
                f"the hypernetwork holds values that are not finite, in {name}", fix="export an earlier step"
            )
        width, side, index, kind = name.split(".")
        states = sides.setdefault(int(width), {"k": {}, "v": {}})
        states[side][f"linear.{int(index) * stride}.{kind}"] = value.float()
    structure = cast("list[float]", facts["layer_structure"])
    return {
        **{width: (states["k"], states["v"]) for width, states in sorted(sides.items())},
        "step": request.step,
        "name": about.name,
        "layer_structure": [int(size) if size == int(size) else size for size in structure],
        "activation_func": facts["activation"],
        "is_layer_norm": False,
        "weight_initialization": facts["initialization"],
        "sd_checkpoint": about.base_hash[:SHORT] or None,
        "sd_checkpoint_name": about.base_model,
        "activate_output": False,
        "use_dropout": False,
        "dropout_structure": None,
        "last_layer_dropout": False,
        "optional_info": json.dumps(origin(request), sort_keys=True),
    }


def compose(request: ExportRequest) -> Composed:
    """The tensors of every width."""
    return packed(request, request.artifact.tensors)


FORMAT = PickleFormat(
    name="a1111_hypernetwork",
    title="A1111 hypernetwork",
    extension=".pt",
    kind="hypernetwork",
    families=TRAINED,
    opens_in=("AUTOMATIC1111", "ComfyUI"),
    compose=compose,
    pack=pack,
)
