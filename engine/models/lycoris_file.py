"""What a LoHa's or LoKr's file holds, from its header: which modules, how wide, how strong, by LyCORIS' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.models.lora_file import TEXT, scalar, targets_of
from engine.tensorfiles.header import Header, read_header

_NAME = re.compile(r"(.+)\.((?:hada|lokr)_\w+)")
_WIDE = ("hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Tensors whose first side is the rank."""
STRONG = {"loha": "hada_w2_b", "lokr": "lokr_w1"}
"""The tensor of each kind that takes a strength in."""


@dataclass(frozen=True)
class LycorisModule:
    """Shapes by LyCORIS' names; `rank` is 0 where no tensor tells it; `strength` is what the change is times."""

    shapes: Mapping[str, tuple[int, ...]]
    rank: int
    strength: float


@dataclass(frozen=True)
class LycorisFile:
    """The modules of a file by what the file calls them; `kind` is loha or lokr."""

    path: Path
    kind: str
    pairs: Mapping[str, LycorisModule]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Every rank that occurs, the smallest first."""
        return tuple(sorted({module.rank for module in self.pairs.values() if module.rank}))

    @property
    def has_text(self) -> bool:
        """Is a text encoder adapted?"""
        return any(stem.startswith(TEXT) for stem in self.pairs)

    @property
    def targets(self) -> str:
        """What lora.targets is called for such modules."""
        return targets_of(self.pairs)


def lycoris_kind(path: Path) -> str:
    """loha or lokr; empty for another file, and for one that cannot be read."""
    try:
        names = read_header(path).tensors if path.is_file() else {}
    except UserError:
        return ""
    marks = {"loha": ".hada_", "lokr": ".lokr_"}
    return next((kind for kind, mark in marks.items() if any(mark in name for name in names)), "")


def read_lycoris(path: Path, kind: str) -> LycorisFile:
    """Raises UserError for a file of another kind, and for one with a core (Tucker), which is not trained here."""
    if not path.is_file():
        raise UserError(f"{path} is not there", "training would begin with it", "correct the path")
    header = read_header(path)
    grouped: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, info in header.tensors.items():
        if match := _NAME.fullmatch(name):
            grouped.setdefault(match[1], {})[match[2]] = info.shape
    mark = {"loha": "hada_", "lokr": "lokr_"}[kind]
    if not grouped or any(not name.startswith(mark) for own in grouped.values() for name in own):
        raise UserError(f"{path} is no {kind}", f"it has not {mark} alone", "set the kind as the file has it")
    core = next((f"{stem}.{name}" for stem, own in grouped.items() for name in own if "_t" in name), "")
    if core:
        raise UserError(f"{path} has a core (Tucker)", f"for example {core}", "name a file without, or none")
    modules = {stem: _module(path, header, stem, own) for stem, own in grouped.items()}
    return LycorisFile(path, kind, modules)


def _module(path: Path, header: Header, stem: str, shapes: Mapping[str, tuple[int, ...]]) -> LycorisModule:
    rank = next((shapes[name][0] for name in _WIDE if name in shapes), 0)
    alpha = header.tensors.get(f"{stem}.alpha")
    # Without a rank both matrices of a LoKr are whole, and readers take them as they are.
    strength = scalar(path, alpha) / rank if alpha is not None and rank else 1.0
    return LycorisModule(shapes, rank, strength)
