"""Loads a CLIP tokenizer from a folder, after a look at what the library would only fail on without a reason."""

import json
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.clip_vocabulary import END, FILES, START

CLIP_TOKENS = 77  # positions of every CLIP text encoder
MAX_BYTES = 50_000_000


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
        tokenizer.model_max_length = CLIP_TOKENS
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
    unknown = [piece for piece in (START, END) if type(vocabulary.get(piece)) is not int]
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
