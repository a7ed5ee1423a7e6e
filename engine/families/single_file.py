"""Reads and writes whole models as one file in the LDM/SGM layout, with no network and no original config."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.errors import UserError
from engine.families.markers import ZERO_SNR
from engine.families.published import Config
from engine.families.registry import file_layout
from engine.families.single_file_config import hints_for, infer_configs, parts_of
from engine.families.stored_forms import pack, unpack
from engine.models import keymap_vae
from engine.models.detect import detect_table
from engine.models.keymap import Form, KeyMap, Slot
from engine.models.keymap_text import text_map, with_level
from engine.models.specs import FAMILIES
from engine.tensorfiles import pickles
from engine.tensorfiles.header import Header, TensorInfo, sniff
from engine.tensorfiles.memory import TensorFile, own
from engine.tensorfiles.safetensors_file import verify, write_safetensors


class LazyPart(Mapping[str, torch.Tensor]):
    """One part's state dict under diffusers' names; a tensor is read from the file when it is asked for.

    Text encoders are named with their `text_model.` level (see keymap_text.for_module).
    """

    def __init__(self, source: "Source", slots: KeyMap) -> None:
        self._source = source
        self.slots = slots

    def __getitem__(self, name: str) -> torch.Tensor:
        slot = self.slots[name]
        return own(unpack(self._source.read(slot.key), slot.form))

    def __iter__(self) -> Iterator[str]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def load(self, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
        """Every tensor at once, floating ones as `dtype` when one is given."""
        return {
            name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            for name, tensor in self.items()
        }


@dataclass(frozen=True)
class SingleFile:
    """A model in one file: state dicts and configs by diffusers' part names, and what was left."""

    path: Path
    family: str
    prediction: str
    parts: dict[str, LazyPart]
    configs: dict[str, Config]
    metadata: dict[str, str]
    ignored: tuple[str, ...]
    reasons: tuple[str, ...]


class Source(Protocol):
    """A file's tensors by their own names."""

    def read(self, key: str) -> torch.Tensor: ...


class _Pickle:
    def __init__(self, path: Path) -> None:
        self.tensors = pickles.load(path)

    def read(self, key: str) -> torch.Tensor:
        return self.tensors[key]


def read_single_file(path: Path | str) -> SingleFile:
    """Opens a .safetensors or .ckpt checkpoint; weights are read when they are asked for.

    UserError names what is missing, what does not belong, or what the file is instead of a model.
    """
    path = Path(path)
    source, header = _open(path)
    found = detect_table(path, header)
    tensors = _old_names(header.tensors, source)
    shapes = {name: info.shape for name, info in tensors.items()}
    configs = infer_configs(path, found.family, shapes, header.metadata)
    configs["scheduler"]["prediction_type"] = found.prediction
    if ZERO_SNR in tensors:
        configs["scheduler"] |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    maps = key_maps(found.family, configs)
    used = {slot.key for slots in maps.values() for slot in slots.values()}
    _check_complete(path, maps, shapes)
    ignored = tuple(sorted(name for name in tensors if name not in used))
    spec = FAMILIES[found.family]
    start, title = spec.file_prefixes()[spec.denoiser], spec.denoiser_title
    strange = [name for name in ignored if name.startswith(start)]
    if strange:
        raise UserError(
            f"{path} has {len(strange)} {title} tensors that no {found.family} {title} has",
            why=f"for example {strange[0]}: it is a variant that sdtrain does not know",
            fix="use the plain model of the family",
        )
    parts = {part: LazyPart(source, slots) for part, slots in maps.items()}
    return SingleFile(
        path, found.family, found.prediction, parts, configs, header.metadata, ignored, found.reasons
    )


def _open(path: Path) -> tuple["TensorFile | _Pickle", Header]:
    if sniff(path) == "pickle":
        source = _Pickle(path)
        return source, pickles.table_of(source.tensors)
    file = TensorFile(path)
    return file, file.header


_NO_LEVEL = "cond_stage_model.transformer."


def _old_names(tensors: dict[str, TensorInfo], source: "TensorFile | _Pickle") -> dict[str, TensorInfo]:
    """Files that lost the text encoder's `text_model.` level, as transformers 5 writes it, are read too."""
    if not any(name.startswith((f"{_NO_LEVEL}encoder.", f"{_NO_LEVEL}embeddings.")) for name in tensors):
        return tensors
    renamed = {
        name.replace(_NO_LEVEL, f"{_NO_LEVEL}text_model.") if name.startswith(_NO_LEVEL) else name: name
        for name in tensors
    }
    read = source.read
    source.read = lambda key: read(renamed[key])  # type: ignore[method-assign]
    return {new: tensors[old] for new, old in renamed.items()}


def key_maps(family: str, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, KeyMap]:
    """{part: {diffusers name: place in a single file}} of a family's model with these configs."""
    spec = FAMILIES[family]
    denoiser = file_layout(family).denoiser_map(configs[spec.denoiser])
    maps: dict[str, KeyMap] = {
        spec.denoiser: {name: Slot(key) for name, key in denoiser.items()},
        "vae": keymap_vae.vae_map(configs["vae"]),
    }
    for part in spec.text:
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
        state = {_new_attention(name): tensor for name, tensor in state.items()}
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


def _new_attention(name: str) -> str:
    for old, new in keymap_vae.OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return name
