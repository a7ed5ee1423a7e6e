"""The model families that are trained here: one line each."""

from __future__ import annotations

from engine.errors import UserError
from engine.models.families.sd1 import SD1
from engine.models.families.sd2 import SD2
from engine.models.families.sdxl import SDXL
from engine.models.family_spec import FamilySpec
from engine.models.file_layout import FileLayout

FAMILIES: dict[str, FamilySpec] = {spec.name: spec for spec in (SD1, SD2, SDXL)}
USUAL = SD1.name
"""What is counted with where a base's family is not known yet."""


def file_layout(family: str) -> FileLayout:
    """How one file holds this family's models. UserError where none does."""
    layout = FAMILIES[family].layout
    if layout is None:
        raise UserError(
            f"a single file of {FAMILIES[family].title} is not known", fix="use a diffusers folder"
        )
    return layout
