"""The loaded halves of the model families: one line each."""

from __future__ import annotations

from engine.errors import UserError
from engine.families.file_layout import FileLayout
from engine.families.loaded import LoadedFamily
from engine.families.sd1 import StableDiffusion1
from engine.families.sd2 import StableDiffusion2
from engine.families.sdxl import StableDiffusionXL

_LOADED: tuple[type[LoadedFamily], ...] = (StableDiffusion1, StableDiffusion2, StableDiffusionXL)
FAMILIES: dict[str, type[LoadedFamily]] = {family.spec.name: family for family in _LOADED}


def file_layout(family: str) -> FileLayout:
    """How one file holds this family's models. UserError where none does."""
    layout = FAMILIES[family].file
    if layout is None:
        raise UserError(
            f"a single file of {FAMILIES[family].spec.title} is not known", fix="use a diffusers folder"
        )
    return layout
