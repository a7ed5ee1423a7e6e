"""Hypernetwork: small MLPs on the context of every attention layer."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec


class HypernetworkOptions(MethodOptions):
    """Options of method hypernetwork; structures and names as AUTOMATIC1111 has them."""

    layer_structure: list[float] = option([1.0, 2.0, 1.0], "widths as factors; the first and the last are 1")
    activation: Literal[
        "linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish"
    ] = option("linear", "activation between layers (swish is Hardswish)")
    initialization: Literal["Normal", "KaimingUniform", "KaimingNormal", "XavierUniform", "XavierNormal"] = (
        option("Normal", "how weights start")
    )
    dropout: list[float] = option(
        [], "dropout a layer, as long as layer_structure; trained with, dropped on export"
    )
    self_attention: bool = option(True, "also on self-attention widths (320, 640, 1280)")


SPEC = MethodSpec(
    name="hypernetwork",
    title="Hypernetwork",
    goal="steer the output through small modules, the base unchanged",
    input="tens of pictures",
    output="a .pt module for AUTOMATIC1111 and ComfyUI",
    use="artistic or abstract style; older, largely replaced by LoRA, which is the better choice for most",
    options=HypernetworkOptions,
    formats=("a1111_hypernetwork",),
    requires=frozenset({"unet", "cross_attention"}),
    typical_pictures=(10, 100),
    notes=("LoRA does the same with more reach and loads in more programs",),
)
