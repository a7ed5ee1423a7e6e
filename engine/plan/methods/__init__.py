"""What each method is for and which options it has; behaviour lives in `engine.methods`."""

from importlib import import_module

from engine.plan.methods.base import MethodOptions, MethodSpec
from engine.plan.methods.plugins import discover

# A file of this folder each, which declares SPEC; the order is that of lists and of the plan's tables.
BUILT_IN = (
    "dreambooth",
    "lora",
    "textual_inversion",
    "full",
    "scratch",
    "hypernetwork",
    "controlnet",
    "t2i_adapter",
    "style_lora",
)
DEFAULT_METHOD = "lora"
METHODS: dict[str, MethodSpec] = {name: import_module(f"{__name__}.{name}").SPEC for name in BUILT_IN}
_found, BROKEN = discover(METHODS)
METHODS.update(_found)

__all__ = ["BROKEN", "DEFAULT_METHOD", "METHODS", "MethodOptions", "MethodSpec"]
