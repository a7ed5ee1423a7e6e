"""Reads and writes whole models as one file in the LDM/SGM layout, with no network and no original config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.errors import UserError
from engine.families.registry import FAMILIES
from engine.families.stored_forms import pack
from engine.families.weights import Part, Weights
from engine.models import keymap_vae
from engine.models.keymap import Form, KeyMap
from engine.models.keymap_text import with_level
from engine.models.published import Config
from engine.models.single_file_config import hints_for, parts_of
from engine.models.single_file_layout import key_maps, lay_out
from engine.tensorfiles.safetensors_file import verify, write_safetensors


@dataclass(frozen=True)
class SingleFile:
    """A model in one file: state dicts and configs by diffusers' part names, and what was left."""

    path: Path
    family: str
    prediction: str
    parts: dict[str, Part]
    configs: dict[str, Config]
    metadata: dict[str, str]
    ignored: tuple[str, ...]
    reasons: tuple[str, ...]


def read_single_file(path: Path | str) -> SingleFile:
    """Opens a .safetensors or .ckpt checkpoint; weights are read when they are asked for.

    UserError names what is missing, what does not belong, or what the file is instead of a model.
    """
    path = Path(path)
    weights = Weights(path)
    laid = lay_out(path, weights.header)
    parts = {part: Part(weights, slots, laid.names) for part, slots in laid.maps.items()}
    found = laid.found
    return SingleFile(
        path,
        found.family,
        found.prediction,
        parts,
        laid.configs,
        weights.header.metadata,
        laid.ignored,
        found.reasons,
    )


def write_single_file(
    path: Path,
    family: str,
    parts: Mapping[str, Mapping[str, torch.Tensor]],
    configs: Mapping[str, Config],
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Writes parts as one .safetensors file, as `single_file_tensors` names them.

    The file is complete, read back and compared before it takes its name. Returns its size in bytes.
    """
    tensors = single_file_tensors(family, parts, configs)
    predicts = str(configs["scheduler"].get("prediction_type", "epsilon"))
    notes = {"format": "pt", "modelspec.prediction_type": "v" if predicts == "v_prediction" else predicts}
    notes |= {**(metadata or {}), **hints_for(family, configs)}
    return write_safetensors(
        path, tensors, notes, dtype=dtype, check=lambda file: _checked(file, tensors, notes, dtype)
    )


def single_file_tensors(
    family: str, parts: Mapping[str, Mapping[str, torch.Tensor]], configs: Mapping[str, Config]
) -> dict[str, torch.Tensor]:
    """Everything that a single file holds, under its own names, from parts under diffusers' (text encoders with or
    without `text_model.`). UserError when a part or a tensor is missing or is not one of the family's."""
    absent = [part for part in parts_of(family) if part not in parts]
    if absent:
        raise UserError(f"a single file cannot be written: {', '.join(absent)} is missing")
    tensors: dict[str, torch.Tensor] = {}
    for part, slots in key_maps(family, configs).items():
        tensors |= _packed(part, slots, parts[part])
    return tensors | FAMILIES[family].file_extras(tensors, configs)


def _checked(
    file: Path, tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str], dtype: torch.dtype | None
) -> None:
    verify(file, tensors, notes, dtype=dtype)


def _packed(part: str, slots: KeyMap, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A part's tensors as the file stores them."""
    if part.startswith("text_encoder"):
        state = with_level(state)
    if part == "vae":
        state = {keymap_vae.new_attention(name): tensor for name, tensor in state.items()}
    lacking = [name for name in slots if name not in state]
    extra = [name for name in state if name not in slots and not name.endswith("position_ids")]
    if lacking or extra:
        raise UserError(
            f"the {part} does not fit its config: missing {lacking[:2]}, unexpected {extra[:2]}",
            why="its tensors and its config belong to different models",
        )
    grouped: dict[str, dict[Form, torch.Tensor]] = {}
    for name, slot in slots.items():
        grouped.setdefault(slot.key, {})[slot.form] = state[name]
    return {key: pack(forms) for key, forms in grouped.items()}
