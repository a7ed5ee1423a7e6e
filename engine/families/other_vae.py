"""The VAE that `base.vae` names, loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.errors import UserError
from engine.families.weights import Part, Weights, build, folder_part
from engine.models.family_spec import FamilySpec
from engine.models.folder_weights import json_object, weight_files
from engine.models.keymap import Slot
from engine.models.keymap_vae import vae_map
from engine.models.vae_config import DIFFUSERS, LDM, infer_vae
from engine.models.vae_source import check_shape, find_vae, vae_names


def load_vae(spec: FamilySpec, text: str, usual: Mapping[str, Any]) -> tuple[nn.Module, Mapping[str, Any]]:
    """A VAE from a folder or a file, and its config. What a file does not say (the scaling factor, norm groups) is as
    in `usual`, the config of the base's own VAE."""
    source = find_vae(text)
    if source.folder:
        config: Mapping[str, Any] = json_object(source.path / "config.json")
        check_shape(spec, source.path, config)
        files = weight_files(source.path.parent, source.path.name)
        return build(spec, "vae", config, folder_part("vae", source.path, files), source.path), config
    return _from_file(spec, source.path, usual)


def _from_file(spec: FamilySpec, path: Path, usual: Mapping[str, Any]) -> tuple[nn.Module, Mapping[str, Any]]:
    weights = Weights(path)
    found = vae_names(path, weights.header)
    shapes = {name: weights.header.tensors[own].shape for name, own in found.names.items()}
    config = infer_vae(path, shapes, usual, LDM if found.ldm else DIFFUSERS)
    for name in ("quant_conv", "post_quant_conv"):
        start = f"{LDM.prefix}{name}." if found.ldm else f"{name}."
        config[f"use_{name}"] = any(key.startswith(start) for key in shapes)
    check_shape(spec, path, config)
    slots = vae_map(config) if found.ldm else {name: Slot(name) for name in found.names}
    missing = [slot.key for slot in slots.values() if slot.key not in found.names]
    if missing:
        raise UserError(
            f"base.vae: {path} is no whole VAE: {len(missing)} tensors are missing",
            why=f"for example {missing[0]}",
            fix="download the file again",
        )
    return build(spec, "vae", config, Part(weights, slots, found.names), path), config
