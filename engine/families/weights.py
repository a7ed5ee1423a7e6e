"""A part's weights into its module: every tensor looked at as it is read, none made up and none left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.families.stored_forms import unpack
from engine.models.family_spec import FamilySpec
from engine.models.folder_weights import compare, usual_names
from engine.models.keymap import KeyMap, Slot
from engine.models.keymap_text import for_module
from engine.tensorfiles import pickles
from engine.tensorfiles.header import Header, sniff
from engine.tensorfiles.memory import TensorFile, own

ELEMENTS = 1 << 24
"""So many numbers are looked at in one go, which bounds the memory that the look takes."""


class Weights(Mapping[str, Tensor]):
    """The tensors of some files by their own names, whatever kind of file each is; each is read when it is asked for,
    into memory of its own. `header` is that of all files."""

    def __init__(self, *files: Path) -> None:
        """UserError for a file that is not sound."""
        self._sources: dict[str, TensorFile | Mapping[str, Tensor]] = {}
        self.header = Header({}, {})
        for file in files:
            if sniff(file) == "pickle":
                tensors = pickles.load(file)
                header = pickles.table_of(tensors)
                self._sources |= dict.fromkeys(tensors, tensors)
            else:
                opened = TensorFile(file)
                header = opened.header
                self._sources |= dict.fromkeys(header.tensors, opened)
            self.header.tensors.update(header.tensors)
            self.header.metadata.update(header.metadata)

    def __getitem__(self, name: str) -> Tensor:
        source = self._sources[name]
        return source.read(name) if isinstance(source, TensorFile) else own(source[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


class Part(Mapping[str, Tensor]):
    """One part's state dict under diffusers' names, made from a file's tensors as they are asked for.

    `slots` say where each lies, `names` are the file's own names by those of the slots. Text encoders are named with
    their `text_model.` level (see keymap_text.for_module).
    """

    def __init__(self, weights: Mapping[str, Tensor], slots: KeyMap, names: Mapping[str, str]) -> None:
        self._weights = weights
        self._names = names
        self.slots = slots

    def __getitem__(self, name: str) -> Tensor:
        slot = self.slots[name]
        stored = self._weights[self._names[slot.key]]
        value = unpack(stored, slot.form)
        return value if value is stored else own(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def load(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Every tensor at once, floating ones as `dtype` when one is given."""
        return {
            name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            for name, tensor in self.items()
        }


def folder_part(part: str, where: Path, files: list[Path]) -> Part:
    """A part of a diffusers folder."""
    weights = Weights(*files)
    names = usual_names(part, where, weights)
    return Part(weights, {name: Slot(name) for name in names}, names)


def model_class(spec: FamilySpec, part: str) -> Any:
    """The class of a part, by its folder name in a diffusers model."""
    library, name = spec.classes[part]
    return getattr(import_module(library), name)


def build(
    spec: FamilySpec, part: str, config: Mapping[str, Any], state: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """A module from its config with these weights, in the dtypes that they are stored in, without initialising it.

    Text encoders' weights are named with their `text_model.` level. UserError names the part and the first tensor
    that is missing, belongs to nothing, has another shape, or holds a number that is not finite.
    """
    module = _empty(spec, part, config, path)
    wanted = module.state_dict()
    names = {name: name for name in state}
    if part.startswith("text_encoder"):
        names = for_module(names, wanted)
    compare(spec, part, path, wanted, names)
    values = {
        name: _checked(part, path, name, state[names[name]], slot)
        for name, slot in wanted.items()
        if name in names
    }
    module.load_state_dict(values, strict=False, assign=True)
    _fill_buffers(module)
    return module


def _empty(spec: FamilySpec, part: str, config: Mapping[str, Any], path: Path) -> nn.Module:
    kind = model_class(spec, part)
    try:
        with torch.device("meta"):
            if part.startswith("text_encoder"):
                module: nn.Module = kind(kind.config_class(**config))
            else:
                module = kind.from_config(dict(config))
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(
            f"the {part} of {path} cannot be made from its config",
            (str(error).splitlines() or [type(error).__name__])[0],
            "check that the folder is a whole diffusers model",
        ) from error
    return module


def _checked(part: str, path: Path, name: str, tensor: Tensor, slot: Tensor) -> Tensor:
    """The tensor itself, where it fits its place and all of it is finite."""
    if tensor.shape != slot.shape:
        raise UserError(
            f"the {part} in {path} does not fit its config",
            f"{name} is {list(tensor.shape)} and should be {list(slot.shape)}",
            "the files are of another model than config.json: get them again",
        )
    if slot.is_floating_point() and not tensor.is_floating_point():
        raise UserError(
            f"the {part} in {path} is stored as {str(tensor.dtype).removeprefix('torch.')}",
            f"for example {name}: training needs the numbers themselves",
            "get the fp16, bf16 or fp32 file of the model",
        )
    if tensor.is_meta:
        raise UserError(
            f"the {part} in {path} holds no numbers",
            f"{name} was saved from the meta device: only its shape is there",
            "save the model again after its weights are loaded",
        )
    if not finite(tensor):
        raise UserError(
            f"the {part} in {path} is damaged: it holds numbers that are not finite",
            f"for example in {name}: everything that is computed with them is NaN",
            "get the model again, or one from before the merge or training that broke it",
        )
    return tensor


def finite(tensor: Tensor) -> bool:
    """Is no number of it NaN or infinite? Whole numbers always are."""
    if not tensor.is_floating_point():
        return True
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), ELEMENTS):
        piece = flat[start : start + ELEMENTS]
        # fp8 has no kernel of its own for this on the CPU.
        wide = piece.float() if piece.element_size() == 1 else piece
        if not bool(torch.isfinite(wide).all()):
            return False
    return True


def _fill_buffers(module: nn.Module) -> None:
    # Buffers that no file stores (position ids) stay on the meta device after an assigning load.
    for owner in module.modules():
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert name == "position_ids", name
                filled = torch.arange(buffer.shape[-1]).expand(buffer.shape)
                owner.register_buffer(name, filled, persistent=False)
