"""What AUTOMATIC1111's file of a hypernetwork holds: widths, structure, and what its reader does besides.

A pair of networks by width, for keys (0) and values (1). What is missing has AUTOMATIC1111's own default
(modules/hypernetworks/hypernetwork.py, Hypernetwork.load).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.models.file_table import FileTable, file_table

_NAME = re.compile(r"(\d+)\.([01])\.linear\.?(\d+)\.(weight|bias)")
_SIDES = ("k", "v")


@dataclass(frozen=True)
class HypernetworkFile:
    """`tensors` gives the file's name for each `WIDTH.SIDE.N.weight` and `.bias`, where N counts linear layers."""

    path: Path
    widths: tuple[int, ...]
    structure: tuple[float, ...]
    activation: str
    tensors: Mapping[str, str]


def read_hypernetwork(path: Path) -> HypernetworkFile:
    """Raises UserError for what is no hypernetwork, or one that is computed in a way that is not trained here."""
    table = file_table(path)
    found: dict[tuple[int, int], dict[int, set[str]]] = {}
    for name in table.shapes:
        if match := _NAME.fullmatch(name):
            layers = found.setdefault((int(match[1]), int(match[2])), {})
            layers.setdefault(int(match[3]), set()).add(match[4])
    if not found:
        first = next(iter(table.shapes), "nothing")
        kind = table.kind or "no hypernetwork"
        raise UserError(
            f"{path} is {kind}", f"it holds {first!r}", "name AUTOMATIC1111's .pt file, or leave it out"
        )
    activation = str(table.facts.get("activation_func") or "linear").lower()
    _refuse_others(table, activation)
    tensors: dict[str, str] = {}
    for (width, side), layers in found.items():
        for number, place in enumerate(sorted(layers)):
            tensors |= {
                f"{width}.{_SIDES[side]}.{number}.{end}": _name(table, width, side, place, end)
                for end in layers[place]
            }
    widths = tuple(sorted({width for width, _ in found}))
    return HypernetworkFile(path, widths, _structure(table, widths[0], tensors), activation, tensors)


def _name(table: FileTable, width: int, side: int, place: int, end: str) -> str:
    names = (f"{width}.{side}.linear.{place}.{end}", f"{width}.{side}.linear{place}.{end}")
    return next(name for name in names if name in table.shapes)


def _refuse_others(table: FileTable, activation: str) -> None:
    facts = table.facts
    drops = facts.get("dropout_structure")
    if facts.get("is_layer_norm"):
        why = "it has layer norms between its layers, which are not trained here"
    elif activation != "linear" and facts.get("activate_output", True):
        why = f"it has {activation} behind its last layer too, which is not trained here"
    elif facts.get("use_dropout") or (isinstance(drops, list) and any(drops)):
        why = "its layers are numbered with dropout between them, and AUTOMATIC1111 goes on dropping"
    else:
        return
    raise UserError(f"{table.path} cannot be gone on from", why, "name another, or leave it out")


def _structure(table: FileTable, width: int, tensors: Mapping[str, str]) -> tuple[float, ...]:
    """The layers' widths as factors, read from the shapes."""
    sizes = [width]
    while (name := f"{width}.k.{len(sizes) - 1}.weight") in tensors:
        sizes.append(table.shapes[tensors[name]][0])
    return tuple(size / width for size in sizes)
