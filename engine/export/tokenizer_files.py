"""Copies a CLIP tokenizer so that every transformers version reads it, whichever of its files the base has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.export.published import without_paths
from engine.models.clip_vocabulary import END, START

CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")


def write_tokenizer(source: Path, target: Path, pad: str = "") -> None:
    """vocab.json and merges.txt (transformers 4's slow tokenizer asks for them), and the settings.

    A tokenizer.json alone is taken apart; one that lies beside the two files is copied too. `pad` is the
    padding token that the model was trained with, where it may differ from the source's.
    """
    target.mkdir(parents=True, exist_ok=True)
    whole = source / "tokenizer.json"
    if (source / "vocab.json").is_file() and (source / "merges.txt").is_file():
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(source / name, target / name)
    else:
        _take_apart(whole, target)
    if whole.is_file():
        shutil.copyfile(whole, target / whole.name)
    for name in CONFIGS:
        if (source / name).is_file():
            _write(target / name, without_paths(_read(source / name)))
    if not (target / CONFIGS[0]).exists():
        _write(target / CONFIGS[0], _settings())
    if pad:
        for name in CONFIGS:
            _set_pad(target / name, pad)


def _set_pad(file: Path, pad: str) -> None:
    if not file.is_file():
        return
    settings = _read(file)
    stored = settings.get("pad_token")
    if (stored.get("content") if isinstance(stored, dict) else stored) != pad:
        settings["pad_token"] = pad
        _write(file, settings)


def _read(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _uncopied(file, str(error)) from error
    if not isinstance(settings, dict):
        raise _uncopied(file, "it is no table of settings")
    return settings


def _uncopied(file: Path, why: str) -> UserError:
    return UserError(
        f"the tokenizer's {file} cannot be copied", why, "get that file again, then export again"
    )


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _settings() -> dict[str, Any]:
    """What the engine assumes of a tokenizer of two files (engine.families.tokenizers.load_tokenizer)."""
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "do_lower_case": True,
    }


def _take_apart(whole: Path, target: Path) -> None:
    try:
        model = json.loads(whole.read_text(encoding="utf-8"))["model"]
        vocabulary, merges = model["vocab"], model["merges"]
        lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the tokenizer {whole} cannot be copied",
            str(error),
            "put its vocab.json and merges.txt beside it, and export again",
        ) from error
    (target / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")
