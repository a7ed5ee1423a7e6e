"""Hypernetwork: small MLPs on the context of every attention layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from engine.models.layers import Layer
from engine.plan.fields import option
from engine.plan.methods import hypernetwork_start
from engine.plan.methods.base import MethodOptions, MethodSpec
from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext
from engine.plan.methods.lora import style_lesson
from engine.plan.problems import Problem


class HypernetworkOptions(MethodOptions):
    """Options of method hypernetwork; structures and names as AUTOMATIC1111 has them."""

    path_fields: ClassVar[tuple[str, ...]] = ("start",)
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {"start": (".pt",)}
    sizeless_fields: ClassVar[frozenset[str]] = frozenset({"initialization", "start"})

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
    start: str = option(
        "", "AUTOMATIC1111's .pt file to go on from; none begins as initialization says", advanced=True
    )

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        sizes, drops = self.layer_structure, self.dropout
        key, fix = "hypernetwork.layer_structure", "set [1, 2, 1]"
        if len(sizes) < 2 or sizes[0] != 1 or sizes[-1] != 1:
            why = "its output is added to its input"
            yield Problem(key, f"{sizes} does not start and end with 1", why, fix)
        if any(size <= 0 or size > 64 for size in sizes):
            why = "each is a factor of the context's width"
            yield Problem(key, f"{sizes} has a width that cannot be", why, fix)
        key, fix = "hypernetwork.dropout", "set [0, 0.1, 0]"
        if drops and len(drops) != len(sizes):
            what = f"{len(drops)} numbers for {len(sizes)} layers"
            yield Problem(key, what, "each layer has one, the first is 0", fix)
        elif any(not 0 <= drop < 1 for drop in drops) or (drops and drops[0]):
            yield Problem(key, f"{drops} is no dropout", "0 to below 1, the first is 0", fix)
        if self.start:
            layers = ctx.family.layers(ctx.denoiser_config) if ctx.family and ctx.denoiser_config else ()
            yield from hypernetwork_start.problems(self.start, sizes, self.activation, self._widths(layers))

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        yield from hypernetwork_start.derived(plan)

    def _widths(self, layers: Sequence[Layer]) -> set[int]:
        """Of what keys and values are made from."""
        keys = [layer for layer in layers if layer.path.endswith(".to_k")]
        return {layer.inputs for layer in keys if layer.text or self.self_attention}

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        # Two networks for each width of what keys and values are made from.
        return 2 * sum(
            int(width * before) * int(width * after) + int(width * after)
            for width in self._widths(shape.denoiser)
            for before, after in pairwise(self.layer_structure)
        )


SPEC = MethodSpec(
    name="hypernetwork",
    title="Hypernetwork",
    goal="steer the output through small modules, the base unchanged",
    input="tens of pictures",
    output="a .pt module for AUTOMATIC1111 and ComfyUI",
    use="artistic or abstract style; older, largely replaced by LoRA, which is the better choice for most",
    options=HypernetworkOptions,
    behaviour="engine.methods.hypernetwork:Hypernetwork",
    formats=("a1111_hypernetwork",),
    requires=frozenset({"cross_attention"}),
    typical_pictures=(10, 100),
    notes=("LoRA does the same with more reach and loads in more programs",),
    lesson=style_lesson(24, "a style, with small networks before the keys and values of every attention"),
)
