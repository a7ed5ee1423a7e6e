"""What each method is for and which options it has; behaviour lives in `engine.methods`."""

from typing import Literal

from engine.plan.methods import (
    controlnet,
    dreambooth,
    full,
    hypernetwork,
    lora,
    scratch,
    style_lora,
    t2i_adapter,
    textual_inversion,
)
from engine.plan.methods.base import MethodOptions, MethodSpec

MethodName = Literal[
    "dreambooth",
    "lora",
    "textual_inversion",
    "full",
    "scratch",
    "hypernetwork",
    "controlnet",
    "t2i_adapter",
    "style_lora",
]
_FILES = (
    dreambooth, lora, textual_inversion, full, scratch, hypernetwork, controlnet, t2i_adapter, style_lora
)  # fmt: skip
METHODS: dict[str, MethodSpec] = {file.SPEC.name: file.SPEC for file in _FILES}

__all__ = ["METHODS", "MethodName", "MethodOptions", "MethodSpec"]
