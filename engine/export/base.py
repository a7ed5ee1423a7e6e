"""What every export format shares: the request, the record, the metadata, and the one way to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.models.family_spec import FamilySpec
from engine.models.published import published
from engine.models.specs import FAMILIES, file_layout
from engine.tensorfiles.safetensors_file import verify, write_safetensors
from engine.version import package_version

PROGRAM = "sdtrain-tui"
ORIGINAL = "https://github.com/Stability-AI/generative-models"
"""modelspec.implementation of whole models under the original names and of embeddings, as sd-scripts writes it."""
_NOT_IN_NAMES = ":,<>"
TRAINED = frozenset(FAMILIES)
"""Every family that is trained here."""


@dataclass(frozen=True)
class ModelFacts:
    """What an exporter needs to know of the base model: its family, prediction type, and configs by part.

    `configs` needs the denoiser's only where names follow from it (SDXL's kohya names).
    """

    family: str
    prediction: str = "epsilon"
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def spec(self) -> FamilySpec:
        """The family's row."""
        return FAMILIES[self.family]

    @property
    def zero_terminal_snr(self) -> bool:
        """Does its noise schedule end without any signal?"""
        return bool(self.configs.get("scheduler", {}).get("rescale_betas_zero_snr"))


@dataclass(frozen=True)
class SetFacts:
    """A set of pictures as a file tells of it: its folder's name, how many there are, and how often tags occur."""

    name: str
    repeats: int = 1
    images: int = 0
    tags: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What a file says about its origin, all of which is published with it: `base_model` is a name, never a path.

    `created` and `started` are Unix time in seconds, `resolution` and `buckets` width and height in pixels; `buckets`
    counts pictures. Without `captions` nothing that comes from a caption or names a folder of pictures is written.
    """

    name: str
    plan_hash: str
    base_model: str
    base_hash: str
    created: float
    started: float = 0.0
    seed: int = 0
    resolution: tuple[int, int] = (512, 512)
    trigger_words: tuple[str, ...] = ()
    images: int = 0
    sets: tuple[SetFacts, ...] = ()
    clip_skip: int = 1
    max_tokens: int = 75
    buckets: Mapping[tuple[int, int], int] = field(default_factory=dict)
    captions: bool = True
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportRequest:
    """One file to write: what was learnt, for which model, at which step, where to, and as which dtype."""

    artifact: Artifact
    model: ModelFacts
    about: About
    step: int
    out: Path
    dtype: torch.dtype = torch.float16
    overwrite: bool = False
    base: Callable[[], ModelFamily] | None = None
    """Loads the base model anew, as it is stored, for formats that hold a whole model."""
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    """Each text part's tokenizer, as transformers loads it, for formats that hold a whole model."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, read back and compared."""

    format: str
    path: Path
    bytes: int
    tensors: int
    opens_in: tuple[str, ...] = ()
    parts: tuple[Exported, ...] = ()
    """Each file, where a format writes several; `path` is then the first one's, the rest are sums."""

    @property
    def files(self) -> tuple[Exported, ...]:
        """Each file or folder that was written."""
        return tuple(replace(part, opens_in=self.opens_in) for part in self.parts) or (self,)


@dataclass(frozen=True)
class Composed:
    """A file's content before it is written."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]


@dataclass(frozen=True)
class Format:
    """One file format: for whom it is, and how an artifact becomes its content.

    `kind` is the artifact's; `opens_in` are the programs that read it, less those that `not_in` names for an artifact
    of a family; `compose` raises UserError for what the format cannot hold. A run's files of the format lie in
    `folder` below its exports, where that is given.
    """

    name: str
    title: str
    extension: str
    kind: str
    families: frozenset[str]
    opens_in: tuple[str, ...]
    compose: Callable[[ExportRequest], Composed]
    folder: str = ""
    not_in: Callable[[ExportRequest], frozenset[str]] = lambda request: frozenset()

    def readers(self, request: ExportRequest) -> tuple[str, ...]:
        """The programs that open this file and compute with it what was trained."""
        spec, made = request.model.spec, f"{self.name}/{request.model.prediction}"
        without = self.not_in(request).union(*(spec.not_opened.get(name, ()) for name in (self.name, made)))
        if _of_other_widths(request.model):
            without |= {name for name in self.opens_in if name != "diffusers"}
        return tuple(name for name in self.opens_in if name not in without)

    def write(self, request: ExportRequest) -> Exported:
        """Composes, writes beside the goal, reads back key by key, and only then gives the file its name."""
        check_request(self, request)
        content = self.compose(request)
        size = write_safetensors(
            request.out,
            content.tensors,
            content.metadata,
            dtype=request.dtype,
            check=lambda path: self.verify(path, content, request.dtype),
        )
        return Exported(self.name, request.out, size, len(content.tensors))

    def verify(self, path: Path, content: Composed, dtype: torch.dtype | None = None) -> None:
        """UserError when the file on disk is not this content, to the last name, shape, dtype and value."""
        verify(path, content.tensors, content.metadata, dtype=dtype)


def check_request(form: Format, request: ExportRequest) -> None:
    """UserError where the format cannot hold the artifact, or the name cannot be taken."""
    out = request.out
    if request.artifact.kind != form.kind or request.model.family not in form.families:
        raise UserError(
            f"the format {form.name} does not hold a {request.artifact.kind} for {request.model.family}",
            fix="choose another format",
        )
    if form.extension and (out.suffix != form.extension or not out.stem.strip(".")):
        raise UserError(
            f"{out} must end in {form.extension}",
            why=f"programs tell {form.title} files by that ending",
            fix=f"name it {out.stem or request.about.name}{form.extension}",
        )
    if odd := next((mark for mark in _NOT_IN_NAMES if mark in out.name), None):
        raise UserError(
            f"{out.name} has {odd!r} in its name",
            why="programs that take names in a prompt, as <lora:NAME:1>, end the name there",
            fix="use letters, digits, dash and underscore",
        )
    if (out.is_dir() and form.extension) or (out.exists() and not request.overwrite):
        raise UserError(
            f"{out} is already there",
            why="nothing is overwritten unasked",
            fix="give another name, or move the old one away",
        )


def common_metadata(request: ExportRequest, kind: str = "lora") -> dict[str, str]:
    """sdtrain's own facts and modelspec 1.0.1 entries (github.com/Stability-AI/ModelSpec), all texts."""
    about, model = request.about, request.model
    width, height = about.resolution
    architecture = model.spec.architectures[model.prediction]
    notes = {
        "format": "pt",
        "sdtrain.plan_hash": about.plan_hash,
        "sdtrain.base_model": about.base_model,
        "sdtrain.base_hash": about.base_hash,
        "sdtrain.step": str(request.step),
        **({"sdtrain.trigger_words": ", ".join(about.trigger_words)} if about.captions else {}),
        **{
            f"sdtrain.version.{name}": package_version(name)
            for name in (PROGRAM, "torch", "diffusers", "peft")
        },
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/{kind}" if kind else architecture,
        "modelspec.implementation": _implementation(model.spec, kind),
        "modelspec.title": about.name,
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.date": datetime.fromtimestamp(about.created, UTC).isoformat(timespec="seconds"),
        "modelspec.prediction_type": "v" if model.prediction == "v_prediction" else "epsilon",
    }
    if about.clip_skip > 1:
        notes["modelspec.encoder_layer"] = str(about.clip_skip)
    if about.captions and about.trigger_words:
        notes["modelspec.trigger_phrase"] = ", ".join(about.trigger_words)
    return {**notes, **about.extra}


def _of_other_widths(model: ModelFacts) -> bool:
    """Has the base other widths than its family's? diffusers alone reads them from a config."""
    config, widths = model.configs.get(model.spec.denoiser), file_layout(model.family).widths
    return config is not None and list(config[widths]) != list(
        published(model.family, model.spec.denoiser)[widths]
    )


def _implementation(spec: FamilySpec, kind: str) -> str:
    """As sd-scripts names it (library/sai_model_spec.py): the original code for whole models and embeddings."""
    if kind in ("", "textual-inversion"):
        return ORIGINAL
    return spec.implementation if kind == "lora" else "diffusers"
