"""Reads and writes whole models as one file in the LDM/SGM layout, with no network and no original config."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError
from engine.families.markers import ZERO_SNR
from engine.families.published import Config
from engine.families.registry import file_layout
from engine.families.single_file_config import hints_for, infer_configs, layouts, parts_of
from engine.families.stored_forms import pack
from engine.families.weights import Part, Weights
from engine.models import keymap_vae
from engine.models.detect import detect_table
from engine.models.family_spec import TextPart
from engine.models.file_names import renamed, single_file_names
from engine.models.keymap import Form, KeyMap, Slot
from engine.models.keymap_text import text_map, with_level
from engine.models.specs import FAMILIES
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
    header = weights.header
    found = detect_table(path, header)
    names = single_file_names(path, header.tensors)
    tensors = renamed(header, names).tensors
    shapes = {name: info.shape for name, info in tensors.items()}
    configs = infer_configs(path, found.family, shapes, header.metadata)
    configs["scheduler"]["prediction_type"] = found.prediction
    if ZERO_SNR in tensors:
        configs["scheduler"] |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    maps = key_maps(found.family, configs, layouts(FAMILIES[found.family], shapes))
    used = {slot.key for slots in maps.values() for slot in slots.values()}
    _check_complete(path, maps, shapes)
    ignored = tuple(sorted(name for name in tensors if name not in used))
    _refuse_left_over(path, found.family, configs, ignored)
    spec = FAMILIES[found.family]
    start, title = spec.file_prefixes()[spec.denoiser], spec.denoiser_title
    strange = [name for name in ignored if name.startswith(start)]
    if strange:
        raise UserError(
            f"{path} has {len(strange)} {title} tensors that no {found.family} {title} has",
            why=f"for example {strange[0]}: it is a variant that sdtrain does not know",
            fix="use the plain model of the family",
        )
    parts = {part: Part(weights, slots, names) for part, slots in maps.items()}
    return SingleFile(
        path, found.family, found.prediction, parts, configs, header.metadata, ignored, found.reasons
    )


def _refuse_left_over(path: Path, family: str, configs: Mapping[str, Config], ignored: Sequence[str]) -> None:
    """Layers of a text encoder or of the VAE that nothing would read: something before them is missing."""
    for part, start in FAMILIES[family].file_prefixes().items():
        layers = int(configs.get(part, {}).get("num_hidden_layers", 0))
        for name in ignored:
            if not name.startswith(start):
                continue
            number = _LAYER.search(name)
            block = part == "vae" and name.removeprefix(start).startswith(("encoder.", "decoder."))
            unused = max(
                (text.unused_layers for text in FAMILIES[family].text if text.name == part), default=0
            )
            if block or (part.startswith("text") and number and int(number[1]) >= layers + unused):
                raise UserError(
                    f"{path} is not a whole model: its {part} has tensors that fit nothing",
                    why=f"for example {name}: what belongs before it is missing, or it is another kind of {part}",
                    fix="download or export the file again",
                )


_LAYER = re.compile(r"\.(?:layers|resblocks)\.(\d+)\.")


def key_maps(
    family: str, configs: Mapping[str, Mapping[str, Any]], texts: Sequence[TextPart] = ()
) -> dict[str, KeyMap]:
    """{part: {diffusers name: place in a single file}} of a family's model with these configs.

    `texts` are the text encoders as the file names them, where that is not the family's usual way (see `layouts`).
    A part without a config is left out.
    """
    spec = FAMILIES[family]
    denoiser = file_layout(family).denoiser_map(configs[spec.denoiser])
    maps: dict[str, KeyMap] = {
        spec.denoiser: {name: Slot(key) for name, key in denoiser.items()},
    }
    if "vae" in configs:
        maps["vae"] = keymap_vae.vae_map(configs["vae"])
    for part in texts or spec.text:
        maps[part.name] = text_map(part, configs[part.name])
    return maps


def _check_complete(path: Path, maps: Mapping[str, KeyMap], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for part, slots in maps.items():
        missing = [slot.key for slot in slots.values() if slot.key not in shapes]
        if missing:
            raise UserError(
                f"{path} is not a whole model: {len(missing)} tensors of the {part} are missing",
                why=f"for example {missing[0]}",
                fix="download or export the file again",
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
    return tensors | file_layout(family).extras(tensors, configs)


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
