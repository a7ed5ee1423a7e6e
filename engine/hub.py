"""Finds models in the local Hugging Face hub cache; never asks the network."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.files import expanded

HUB_ID = re.compile(r"^[\w][\w.-]*/[\w][\w.-]*$", re.ASCII)


def hub_cache() -> Path:
    """Where the hub's client keeps models, by the environment variables that it reads itself."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return expanded(folder)
    if home := os.environ.get("HF_HOME"):
        return expanded(home) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (expanded(cache) if cache else expanded("~") / ".cache") / "huggingface" / "hub"


def is_hub_id(text: str) -> bool:
    """Has it the form owner/name?"""
    return HUB_ID.match(text) is not None


def snapshot(model: str) -> Path | None:
    """The folder of a cached model: the commit that `main` names, else the newest one, else none."""
    folder = hub_cache() / f"models--{model.replace('/', '--')}"
    snapshots = folder / "snapshots"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
        if commit and "/" not in commit and (snapshots / commit).is_dir():
            return snapshots / commit
    except (OSError, UnicodeDecodeError):
        pass
    try:
        found = sorted(
            (path for path in snapshots.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
        )
    except OSError:
        return None
    return found[-1] if found else None


def unfinished(model: str) -> Path:
    """A mark beside a cached model while its download by this program is not done: its snapshot may lack files."""
    return hub_cache() / f"models--{model.replace('/', '--')}" / ".sdtrain-unfinished"


def cached_models() -> list[str]:
    """The ids of all cached models, sorted; a folder that cannot be read has none."""
    try:
        names = [path.name for path in hub_cache().iterdir() if path.name.startswith("models--")]
    except OSError:
        return []
    return sorted(name.removeprefix("models--").replace("--", "/", 1) for name in names)
