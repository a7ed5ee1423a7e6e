"""What each method is for and which options it has; behaviour lives in `engine.methods`."""

from typing import Literal

from engine.plan.methods.base import MethodOptions, MethodSpec
from engine.plan.methods.lora import SPEC as LORA

MethodName = Literal["lora"]
METHODS: dict[str, MethodSpec] = {spec.name: spec for spec in (LORA,)}

__all__ = ["METHODS", "MethodName", "MethodOptions", "MethodSpec"]
