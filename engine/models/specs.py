"""The model families that are trained here: one line each."""

from __future__ import annotations

from engine.models.families.sd1 import SD1
from engine.models.families.sd2 import SD2
from engine.models.families.sdxl import SDXL
from engine.models.family_spec import FamilySpec

FAMILIES: dict[str, FamilySpec] = {spec.name: spec for spec in (SD1, SD2, SDXL)}
USUAL = SD1.name
"""What is counted with where a base's family is not known yet."""
