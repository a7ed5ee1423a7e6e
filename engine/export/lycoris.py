"""LoHa, LoKr and OFT as LyCORIS names them: what ComfyUI and AUTOMATIC1111 rebuild alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.methods.artifact import Artifact

# Which tensor of a kind takes the strength in, and which one says how wide it is.
_KINDS = {"loha": ("hada_w2_b", "hada_w1_b"), "lokr": ("lokr_w1", "lokr_w2_b")}


@dataclass(frozen=True)
class Changed:
    """One adapted module: its tensors by LyCORIS' names, with the trained strength in them."""

    part: str
    module: str
    tensors: dict[str, Tensor]


def kind_of(artifact: Artifact) -> str:
    """lora, loha, lokr or oft."""
    return str(artifact.facts.get("kind", "lora"))


def changes_of(artifact: Artifact) -> list[Changed]:
    """Every adapted module in the artifact's order. UserError where a value is not finite.

    The strength alpha / rank is multiplied into one tensor and `alpha` is the width: readers agree then,
    whatever they take for a LoKr whose both matrices are whole (1, or alpha / rank). OFT's alpha is no strength: it
    would hold the rotation back, and 0 leaves it free.
    """
    grouped: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in artifact.tensors.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{name} holds values that are not finite", fix="export an earlier checkpoint")
        part, _, rest = name.partition(".")
        module, _, kind = rest.rpartition(".")
        grouped.setdefault((part, module), {})[kind] = value
    return [Changed(part, module, _strong(artifact, tensors)) for (part, module), tensors in grouped.items()]


def _strong(artifact: Artifact, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A module's tensors with the trained strength in them, and alpha."""
    kind = kind_of(artifact)
    if kind == "oft":
        return {**tensors, "alpha": torch.tensor(0.0)}
    strong, wide = _KINDS[kind]
    scale = _scale(artifact)
    own = {name: value * scale if name == strong else value for name, value in tensors.items()}
    width = tensors[wide].shape[0] if wide in tensors else 1
    return {**own, "alpha": torch.tensor(float(width))}


def _scale(artifact: Artifact) -> float:
    # Ranks that differ by block keep the scale, so that one number holds for every module.
    return float(cast(float, artifact.facts["scale"]))


def network_facts(artifact: Artifact) -> dict[str, str]:
    """What the ss_* metadata says of the network."""
    kind = kind_of(artifact)
    if kind == "oft":
        return {
            "ss_network_module": "lycoris.kohya",
            "ss_network_dim": str(artifact.facts["rank"]),
            "ss_network_alpha": "0",
            "ss_network_args": json.dumps({"algo": "diag-oft"}),
        }
    arguments = {"algo": kind}
    if any(value.dim() == 4 for value in artifact.tensors.values()):
        arguments |= {"conv_dim": str(artifact.facts["rank"]), "conv_alpha": str(artifact.facts["alpha"])}
    return {
        "ss_network_module": "lycoris.kohya",
        "ss_network_dim": str(artifact.facts["rank"]),
        "ss_network_alpha": str(artifact.facts["alpha"]),
        "ss_network_args": json.dumps(arguments),
    }
