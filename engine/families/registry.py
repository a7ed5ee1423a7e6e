"""The loaded halves of the model families: one line each."""

from __future__ import annotations

from engine.families.loaded import LoadedFamily
from engine.families.sd1 import StableDiffusion1
from engine.families.sd2 import StableDiffusion2
from engine.families.sdxl import StableDiffusionXL

_LOADED: tuple[type[LoadedFamily], ...] = (StableDiffusion1, StableDiffusion2, StableDiffusionXL)
FAMILIES: dict[str, type[LoadedFamily]] = {family.spec.name: family for family in _LOADED}
