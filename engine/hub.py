"""Finds models in the local Hugging Face hub cache; asks the network only in `download`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded
from engine.installing import hub_download

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


def cached_models() -> list[str]:
    """The ids of all cached models, sorted; a folder that cannot be read has none."""
    try:
        names = [path.name for path in hub_cache().iterdir() if path.name.startswith("models--")]
    except OSError:
        return []
    return sorted(name.removeprefix("models--").replace("--", "/", 1) for name in names)


PIPELINE_FILES = ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"]


def download(model: str) -> Path:
    """The folder of a hub model, fetched with the hub's own client: configs and safetensors, no pickles.

    Only for a plan with base.allow_download. Raises UserError.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=PIPELINE_FILES))
    except (OSError, ValueError) as error:
        # The client's errors (HTTP, offline, wrong id, gated model) are all OSErrors or ValueErrors.
        raise UserError(
            f"{model} could not be downloaded",
            (str(error).splitlines() or [type(error).__name__])[0],
            f"check the name and the network, or download it elsewhere: {hub_download(model)}",
        ) from error
