"""What a LoRA's file holds, from its header and its alphas: which modules, how wide, how strong."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.errors import UserError
from engine.models.family_spec import Config, FamilySpec
from engine.tensorfiles.header import Header, TensorInfo, read_header

# kohya's, peft's and diffusers' older names of the two halves of a pair.
ENDS = (
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
)
OTHER_KINDS = {
    ".hada_": "a LoHa",
    ".lokr_": "a LoKr",
    ".dora_scale": "a DoRA",
    ".lora_magnitude_vector": "a DoRA",
    ".lora_mid": "a LoRA with a core (CP decomposition)",
    ".oft_": "an OFT",
}
# diffusers.loaders.lora_base.LORA_ADAPTER_METADATA_KEY
SETTINGS = "lora_adapter_metadata"
CONVOLVES = ("resnets", "_layers_", "conv", "samplers", "_op", "time_emb")
FORWARD = ("ff_net", "ff.net", "proj_in", "proj_out", "mlp")
TEXT = ("lora_te", "text_encoder")


@dataclass(frozen=True)
class FilePair:
    """One adapted module: its two tensors' names, rank, width in and out; alpha / rank is its strength."""

    down: str
    up: str
    rank: int
    inputs: int
    outputs: int
    alpha: float


@dataclass(frozen=True)
class LoraFile:
    """The pairs of a file by what the file calls their modules."""

    path: Path
    pairs: Mapping[str, FilePair]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Every rank that occurs, the smallest first."""
        return tuple(sorted({pair.rank for pair in self.pairs.values()}))

    @property
    def alpha(self) -> float:
        """The alpha that most modules have."""
        alphas = [pair.alpha for pair in self.pairs.values()]
        return max(alphas, key=alphas.count)

    @property
    def has_text(self) -> bool:
        """Is a text encoder adapted?"""
        return any(stem.startswith(TEXT) for stem in self.pairs)

    @property
    def targets(self) -> str:
        """What lora.targets is called for such modules."""
        return targets_of(self.pairs)


def targets_of(modules: Iterable[str]) -> str:
    """What lora.targets is called for modules that files name so."""
    stems = [stem for stem in modules if not stem.startswith(TEXT)]
    if any(word in stem for stem in stems for word in CONVOLVES):
        return "all"
    return "attention_ff" if any(word in stem for stem in stems for word in FORWARD) else "attention"


class HasModules(Protocol):
    """A file of adapted modules by what it calls them."""

    @property
    def pairs(self) -> Mapping[str, Any]: ...


def read_lora(path: Path) -> LoraFile:
    """Raises UserError for what is no LoRA of plain pairs, naming what it is."""
    if not path.is_file():
        raise UserError(f"{path} is not there", "training would begin with it", "correct the path")
    header = read_header(path)
    for mark, kind in OTHER_KINDS.items():
        if any(mark in name for name in header.tensors):
            why = "training goes on from plain pairs only"
            raise UserError(f"{path} is {kind}", why, "name a LoRA, or leave it out")
    pairs = dict(_pairs(path, header))
    if not pairs:
        why = "it has no lora_down and lora_up, and no lora_A and lora_B"
        raise UserError(f"{path} is no LoRA", why, "name a LoRA in kohya's or diffusers' form")
    return LoraFile(path, pairs)


def stems_of(spec: FamilySpec, config: Config, part: str, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What files call each module of a part: kohya's names from the original paths and diffusers' own, and peft's.

    Paths of text encoders begin with `text_model.`.
    """
    prefixes = {spec.denoiser: spec.kohya_denoiser, **{text.name: text.kohya for text in spec.text}}
    own = spec.kohya_paths(config) if spec.kohya_paths and part == spec.denoiser else {}
    found = {}
    for path in paths:
        kohya = [f"{prefixes[part]}_{name}".replace(".", "_") for name in (own.get(path, path), path)]
        found[path] = (*kohya, f"{part}.{path}", f"{part}.{path.removeprefix('text_model.')}")
    return found


def matched(file: HasModules, stems: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The file's name for each module that it has, by path."""
    found = {path: next((stem for stem in names if stem in file.pairs), "") for path, names in stems.items()}
    return {path: stem for path, stem in found.items() if stem}


def _pairs(path: Path, header: Header) -> Iterable[tuple[str, FilePair]]:
    settings = _settings(path, header)
    for name, info in header.tensors.items():
        for down_end, up_end in ENDS:
            if not name.endswith(down_end):
                continue
            stem = name.removesuffix(down_end)
            up = header.tensors.get(stem + up_end)
            if up is None or min(len(info.shape), len(up.shape)) < 2 or info.shape[0] != up.shape[1]:
                why = "its lower and upper half do not belong together"
                raise UserError(f"{path}: {stem} is no pair", why, "get the file again")
            rank = info.shape[0]
            alpha = _alpha(path, header, stem, rank, settings)
            yield stem, FilePair(name, stem + up_end, rank, info.shape[1], up.shape[0], alpha)


def _alpha(path: Path, header: Header, stem: str, rank: int, settings: Mapping[str, Any]) -> float:
    """kohya's tensor; else diffusers' settings of the part; else the rank, as every reader takes it."""
    info = header.tensors.get(f"{stem}.alpha")
    if info is not None:
        return scalar(path, info)
    part = stem.partition(".")[0]
    if settings.get(f"{part}.alpha_pattern"):
        why = "its settings give modules strengths of their own (alpha_pattern)"
        raise UserError(f"{path} cannot be gone on from", why, "name its kohya form")
    alpha = settings.get(f"{part}.lora_alpha", rank)
    if not isinstance(alpha, int | float):
        raise UserError(f"{path}: {part}.lora_alpha is no number", fix="get the file again")
    return float(alpha) * (rank**0.5 if settings.get(f"{part}.use_rslora") else 1.0)


def _settings(path: Path, header: Header) -> Mapping[str, Any]:
    text = header.metadata.get(SETTINGS, "{}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: its {SETTINGS} cannot be read", fix="get the file again")
    return found


def scalar(path: Path, info: TensorInfo) -> float:
    """The one number of a tensor; UserError where it is none."""
    forms = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i"}
    with path.open("rb") as stream:
        stream.seek(info.start)
        raw = stream.read(info.end - info.start)
    if info.dtype == "BF16":
        raw, form = b"\0\0" + raw, "<f"
    else:
        form = forms.get(info.dtype, "")
    if not form or len(raw) != struct.calcsize(form):
        raise UserError(f"{path}: an alpha is no single number", fix="get the file again")
    return float(struct.unpack(form, raw)[0])
