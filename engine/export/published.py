"""What may be published of a base model, a folder and a config: names, never where they lie on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from engine.files import is_path

# Where transformers and diffusers note which file or folder something was loaded from.
_ORIGINS = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "tokenizer_file",
        "vocab_file",
        "merges_file",
        "special_tokens_map_file",
    }
)
_HUB = "models--"


def model_name(model: str) -> str:
    """`base.model` as a file says it: builtin names and hub ids whole, also out of the hub's cache; else a file's or
    folder's own name."""
    text = model.strip()
    if not is_path(text, Path.cwd()):
        return text
    cached = next((part for part in reversed(Path(text).parts) if part.startswith(_HUB)), None)
    if cached is not None:
        return cached.removeprefix(_HUB).replace("--", "/")
    return own_name(text, "base model")


def own_name(path: str, other: str) -> str:
    """The last part of a path; `other` where there is none, or where it is the name of the user's home."""
    name = Path(path).expanduser().name
    return other if name in ("", Path.home().name) else name


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config less what says where it was loaded from: those entries, and every absolute path at any depth."""
    return {
        key: _clean(value) for key, value in config.items() if key not in _ORIGINS and not _is_absolute(value)
    }


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_paths(value)
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value if not _is_absolute(one)]
    return value


def _is_absolute(value: object) -> bool:
    # A token may begin with a slash; a path on a machine has a folder in front of its name.
    if not isinstance(value, str):
        return False
    return any(path.is_absolute() and len(path.parts) > 2 for path in _as_paths(value))


def _as_paths(value: str) -> tuple[PurePosixPath | PureWindowsPath, ...]:
    return PurePosixPath(value), PureWindowsPath(value)
