"""Finds a CLIP tokenizer on this machine, since single files carry none; never asks the network."""

import json
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.families.single_file_config import published
from engine.plan.hub import hub_cache, snapshot

CLIP = "openai/clip-vit-large-patch14"
FILES = ("vocab.json", "merges.txt")
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
MAX_BYTES = 50_000_000


def find_tokenizer(
    model: Path | None = None, given: str | Path | None = None, *, part: str = "tokenizer"
) -> Path:
    """A folder with vocab.json and merges.txt: the one given, the model's own, or CLIP's in the hub cache.

    `model` is a diffusers folder (its `part` subfolder is meant) or a single file (a `tokenizer` folder or
    the two files beside it). UserError lists every place that was looked at and what is missing there.
    """
    places = [Path(given).expanduser()] if given is not None else _places(model, part)
    looked: list[str] = []
    for place in places:
        missing = _missing(place)
        if not missing:
            return place
        looked.append(f"{place} lacks {' and '.join(missing)}")
    raise UserError(
        "no CLIP tokenizer was found: " + " and ".join(FILES) + " are needed",
        why="; ".join(looked),
        fix=f"run `hf download {CLIP} vocab.json merges.txt tokenizer_config.json` once,"
        " or copy the two files from any SD 1.x folder's tokenizer/ and set base.tokenizer to that folder",
    )


def load_tokenizer(folder: Path, pad: str | None = None) -> Any:
    """transformers' CLIPTokenizer from a folder that `find_tokenizer` returned; no network.

    With only the two files, the tokenizer gets SD's own settings: 77 tokens, padded with <|endoftext|>.
    `pad` is a token to pad with in place of the folder's own.
    """
    from transformers import CLIPTokenizer

    _check(folder)
    try:
        other = {} if pad is None else {"pad_token": pad}
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, **other)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _unreadable(folder, reason) from error
    if tokenizer.model_max_length > 10_000:  # transformers' "not set"
        tokenizer.model_max_length = int(published("sd1", "text_encoder")["max_position_embeddings"])
    return tokenizer


def _check(folder: Path) -> None:
    """What the tokenizers library would only report as a bare Exception: broken JSON, merges of unknown pieces."""
    for name in (*FILES, "tokenizer.json"):
        file = folder / name
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise _unreadable(folder, f"{name} is too large to be a tokenizer's: over {MAX_BYTES} bytes")
    if (folder / "tokenizer.json").is_file():
        _json(folder, "tokenizer.json")
        return
    vocabulary = _json(folder, "vocab.json")
    unknown = [piece for piece in SPECIAL if type(vocabulary.get(piece)) is not int]
    if unknown or not all(type(index) is int for index in vocabulary.values()):
        raise _unreadable(folder, f"vocab.json is not CLIP's: {(unknown or ['a piece'])[0]} has no number")
    lines = (folder / "merges.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        pair = line.split()
        if not pair or (number == 1 and line.startswith("#version")):
            continue
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise _unreadable(folder, f"merges.txt, line {number}: it does not fit vocab.json")


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(folder, f"{name}: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise _unreadable(folder, f"{name} is not a JSON object")
    return data


def _unreadable(folder: Path, why: str) -> UserError:
    return UserError(f"the tokenizer in {folder} cannot be read", why=why, fix="download its files again")


def _places(model: Path | None, part: str) -> list[Path]:
    places: list[Path] = []
    if model is not None and model.is_dir():
        places.append(model / part)
    elif model is not None:
        # SDXL's two tokenizers have one vocabulary, so the first one's folder also serves the second encoder.
        places += [model.parent / part, model.parent / "tokenizer", model.parent]
    return places + _cached()


def _missing(folder: Path) -> list[str]:
    if (folder / "tokenizer.json").is_file():
        return []
    return [name for name in FILES if not (folder / name).is_file()]


def _cached() -> list[Path]:
    """CLIP's folder in the Hugging Face hub's cache, or where it would be."""
    return [snapshot(CLIP) or hub_cache() / f"models--{CLIP.replace('/', '--')}"]
