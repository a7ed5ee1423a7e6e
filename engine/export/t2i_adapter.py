"""T2I-Adapters: diffusers' keys in one file or a folder, and TencentARC's own keys."""

from __future__ import annotations

import re

from engine.errors import UserError
from engine.export.base import FAMILIES, Composed, ExportRequest, Format, common_metadata
from engine.export.network_folder import NetworkFolder

KIND = "t2i_adapter"
METHODS = frozenset({"t2i_adapter"})
PREFIX = "adapter."
_RESNET = re.compile(r"body\.(\d+)\.resnets\.(\d+)\.(.+)")
_ENTRY = re.compile(r"body\.(\d+)\.in_conv\.(.+)")


def compose(request: ExportRequest) -> Composed:
    """The artifact's own names."""
    return Composed(dict(request.artifact.tensors), common_metadata(request, "t2i-adapter"))


def compose_tencent(request: ExportRequest) -> Composed:
    """TencentARC's names, which ComfyUI and AUTOMATIC1111 read for every kind."""
    config = request.artifact.facts["config"]
    assert isinstance(config, dict)
    light, blocks = config["adapter_type"] == "light_adapter", int(config["num_res_blocks"])
    tensors = {tencent(name, light, blocks): value for name, value in request.artifact.tensors.items()}
    assert len(tensors) == len(request.artifact.tensors)
    return Composed(tensors, common_metadata(request, "t2i-adapter"))


def tencent(name: str, light: bool, blocks: int) -> str:
    """TencentARC's name of a diffusers parameter; full adapters count all `blocks` of all levels through."""
    plain = name.removeprefix(PREFIX)
    if found := _RESNET.fullmatch(plain):
        level, block, rest = int(found[1]), int(found[2]), found[3]
        return f"body.{level}.body.{block}.{rest}" if light else f"body.{level * blocks + block}.{rest}"
    if not light and (found := _ENTRY.fullmatch(plain)):
        return f"body.{int(found[1]) * blocks}.in_conv.{found[2]}"
    return plain


def compose_file(request: ExportRequest) -> Composed:
    """As `compose`; a light adapter is refused, as ComfyUI fails on these names."""
    config = request.artifact.facts["config"]
    assert isinstance(config, dict)
    if config["adapter_type"] == "light_adapter":
        why = "a light adapter in one file loads under TencentARC's names only"
        raise UserError(
            "the format t2i_adapter cannot hold a light adapter", why, "choose t2i_adapter_tencent"
        )
    return compose(request)


FORMAT = Format(
    name="t2i_adapter",
    title="T2I-Adapter (diffusers keys)",
    extension=".safetensors",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("ComfyUI", "AUTOMATIC1111", "diffusers"),
    compose=compose_file,
)
FOLDER = NetworkFolder(
    name="t2i_adapter_folder",
    title="T2I-Adapter folder",
    extension="",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("diffusers",),
    compose=compose,
    network="T2IAdapter",
)
TENCENT = Format(
    name="t2i_adapter_tencent",
    title="T2I-Adapter (TencentARC keys)",
    extension=".safetensors",
    kind=KIND,
    methods=METHODS,
    families=FAMILIES,
    opens_in=("ComfyUI", "AUTOMATIC1111"),
    compose=compose_tencent,
)
