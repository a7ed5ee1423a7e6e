"""How many numbers each part of a base model holds, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.bases import ASSETS, BaseInfo, read_config
from engine.models.family_spec import FamilySpec
from engine.models.folder_weights import part_header
from engine.models.layers import Layer
from engine.models.specs import FAMILIES, USUAL
from engine.tensorfiles.header import Header, read_header


def family_of(base: BaseInfo | None, named: str) -> str:
    """The base's family; where that is not known the plan's, or else the usual one."""
    known = base.family if base is not None and base.family else named
    return known if known in FAMILIES else USUAL


def part_config(base: BaseInfo | None, family: str, part: str) -> dict[str, Any]:
    """A part's config: from the base's own folder, or as the family publishes it."""
    folder = base.path if base is not None and base.path is not None and base.path.is_dir() else None
    own = read_config(folder / part / "config.json") if folder else {}
    return own or read_config(ASSETS / "families" / family / f"{part}.json")


def part_parameters(base: BaseInfo | None, family: str = USUAL) -> dict[str, int]:
    """Numbers in each part of the base: read from its safetensors, or the family's known counts."""
    spec = FAMILIES[family]
    if base is None or base.path is None:
        return spec.parameters
    try:
        counts = _from_folder(base.path, spec) if base.path.is_dir() else _from_file(base.path, spec)
    except UserError:
        counts = {}
    return {**spec.parameters, **counts}


def _from_folder(folder: Path, spec: FamilySpec) -> dict[str, int]:
    headers = {part: part_header(folder, part) for part in spec.weight_parts}
    return {part: _count(header, "") for part, header in headers.items() if header and header.tensors}


def _from_file(path: Path, spec: FamilySpec) -> dict[str, int]:
    if path.suffix != ".safetensors" or spec.file is None:
        return {}
    header = read_header(path)
    return {part: _count(header, prefix) for part, prefix in spec.file_prefixes().items()}


def _count(header: Header, prefix: str) -> int:
    total = 0
    for name, info in header.tensors.items():
        if name.startswith(prefix):
            size = 1
            for side in info.shape:
                size *= side
            total += size
    return total


def scaled_parameters(
    spec: FamilySpec, config: Mapping[str, Any], fresh: Mapping[str, Any], parameters: int
) -> int:
    """The parameters of a denoiser of the config `fresh`, where one of `config` has so many."""
    if fresh == config:
        return parameters
    before, after = (_weights(spec.layers(each)) for each in (config, fresh))
    return round(parameters * after / before)


def _weights(layers: Sequence[Layer]) -> int:
    return sum(layer.inputs * layer.outputs * layer.kernel**2 for layer in layers)
