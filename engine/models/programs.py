"""Where other programs for Stable Diffusion lie on this machine: they hold checkpoints, and CLIP's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_NAMES = (
    "ComfyUI",
    "stable-diffusion-webui",
    "stable-diffusion-webui-forge",
    "stable-diffusion-webui-reForge",
    "automatic",
    "kohya_ss",
    "sd-scripts",
    "OneTrainer",
    "ai-toolkit",
    "SimpleTuner",
    "Fooocus",
    "StabilityMatrix/Packages/ComfyUI",
)
_ROOTS = ("/workspace", "/opt", "/content", "/notebooks")
"""Where images of rented machines put them."""
_CHECKPOINTS = ("models/checkpoints", "models/Stable-diffusion")
_PARENTS = 4
"""Folders above a checkpoint that may be the program it belongs to: ComfyUI/models/checkpoints/sdxl/file."""


def programs() -> Iterator[Path]:
    """The folders of programs that are here, in the home, the current folder or where rented machines have them."""
    for root in dict.fromkeys((Path.home(), Path.cwd(), *map(Path, _ROOTS))):
        yield from (root / name for name in _NAMES if (root / name).is_dir())


def checkpoint_folders() -> list[Path]:
    """Where people keep checkpoints: ./models, ~/models, and those of the programs."""
    of_programs = (program / name for program in programs() for name in _CHECKPOINTS)
    return [
        Path.cwd() / "models",
        Path.home() / "models",
        *(folder for folder in of_programs if folder.is_dir()),
    ]


def around(model: Path) -> list[Path]:
    """The folders above a checkpoint, one of which may be a program's."""
    return list(model.absolute().parents)[:_PARENTS]
