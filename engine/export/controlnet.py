"""ControlNets: diffusers' keys in one file or a folder, which all programs read, and LDM's `control_model.` keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from engine.export.base import FAMILIES, Composed, ExportRequest, Format, common_metadata
from engine.export.network_folder import NetworkFolder
from engine.families.keymap_controlnet import controlnet_map

KIND = "controlnet"
METHODS = frozenset({"controlnet"})


def compose(request: ExportRequest) -> Composed:
    """The artifact's own names: no program takes a prefix before them."""
    return Composed(dict(request.artifact.tensors), common_metadata(request, "controlnet"))


def compose_ldm(request: ExportRequest) -> Composed:
    """lllyasviel's names; shapes are the same in both layouts, as the config decides them."""
    config = cast(Mapping[str, Any], request.artifact.facts["config"])
    names = controlnet_map(config)
    tensors = {names[name]: value for name, value in request.artifact.tensors.items()}
    return Composed(tensors, common_metadata(request, "controlnet"))


FORMAT = Format(
    name="controlnet",
    title="ControlNet (diffusers keys)",
    extension=".safetensors",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("ComfyUI", "AUTOMATIC1111", "kohya", "diffusers"),
    compose=compose,
)
FOLDER = NetworkFolder(
    name="controlnet_folder",
    title="ControlNet folder",
    extension="",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("diffusers",),
    compose=compose,
    network="ControlNetModel",
)
LDM = Format(
    name="controlnet_ldm",
    title="ControlNet (LDM keys)",
    extension=".safetensors",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("ComfyUI", "AUTOMATIC1111", "kohya"),
    compose=compose_ldm,
)
