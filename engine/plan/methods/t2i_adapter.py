"""T2I-Adapter: a small network that feeds a condition picture into the UNet's encoder."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import option
from engine.plan.methods.base import MethodSpec
from engine.plan.methods.controlnet import ConditionOptions


class T2iAdapterOptions(ConditionOptions):
    """Options of method t2i_adapter."""

    kind: Literal["auto", "full_adapter", "full_adapter_xl", "light_adapter"] = option(
        "auto", "network; auto takes the family's full adapter"
    )

    def format_obstacle(self, name: str) -> str:
        # ComfyUI raises on light adapters under diffusers' names, and knows them by TencentARC's.
        if self.kind == "light_adapter" and name == "t2i_adapter":
            return "a light adapter in one file loads under TencentARC's names only"
        return ""


SPEC = MethodSpec(
    name="t2i_adapter",
    title="T2I-Adapter",
    goal="make the model obey a condition with a much smaller network than ControlNet",
    input="pairs: condition map and picture",
    output="an adapter file",
    use="depth, sketch, edge to picture; experimental, effective for stylisation and control",
    options=T2iAdapterOptions,
    formats=("t2i_adapter", "t2i_adapter_folder", "t2i_adapter_tencent"),
    default_formats=3,
    requires=frozenset({"unet", "t2i_adapter"}),
    typical_pictures=(1000, 200_000),
    asks=("t2i_adapter.condition", "t2i_adapter.condition_path", "data.trigger", "data.flip"),
    class_pictures=False,
)
