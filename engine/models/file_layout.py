"""What a family says of its models in one file: how its denoiser lies there, and what configs that follows from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.published import Config, Shapes


def _nothing(configs: dict[str, Config]) -> None:
    return


@dataclass(frozen=True)
class FileLayout:
    """The functions of one family."""

    denoiser_config: Callable[[Path, str, Shapes], Config]
    """The denoiser's config, of (file, family, shapes by name)."""
    denoiser_map: Callable[[Mapping[str, Any]], Mapping[str, str]]
    """{parameter name: name in the file} for a denoiser of this config."""
    hints: tuple[str, ...]
    """Entries of the denoiser's config that shapes do not tell."""
    widths: str
    """The entry of the denoiser's config that says whether it is narrower than the published one."""
    complete: Callable[[dict[str, Config]], None] = _nothing
    """Add what follows from several parts' configs."""
