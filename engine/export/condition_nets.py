"""ControlNets and T2I-Adapters: diffusers' keys in one file or a folder, and their first authors' own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from engine.errors import UserError
from engine.export.base import TRAINED, Composed, ExportRequest, Format, common_metadata
from engine.export.network_folder import NetworkFolder
from engine.models.keymap_adapter import tencent
from engine.models.keymap_controlnet import controlnet_map


def compose(request: ExportRequest, rename: Callable[[str], str] = str) -> Composed:
    """The artifact's own names, which no program takes a prefix before, or others; the shapes stay."""
    tensors = {rename(name): value for name, value in request.artifact.tensors.items()}
    assert len(tensors) == len(request.artifact.tensors)
    return Composed(tensors, common_metadata(request, request.artifact.kind.replace("_", "-")))


def compose_ldm(request: ExportRequest) -> Composed:
    """lllyasviel's names of a ControlNet."""
    return compose(request, controlnet_map(_config(request)).__getitem__)


def compose_adapter(request: ExportRequest) -> Composed:
    """diffusers' names of a full T2I-Adapter; a light one is refused, as ComfyUI fails on its names."""
    if _config(request)["adapter_type"] == "light_adapter":
        why = "a light adapter in one file loads under TencentARC's names only"
        raise UserError(
            "the format t2i_adapter cannot hold a light adapter", why, "choose t2i_adapter_tencent"
        )
    return compose(request)


def compose_tencent(request: ExportRequest) -> Composed:
    """TencentARC's names, which ComfyUI and AUTOMATIC1111 read for every kind."""
    config = _config(request)
    light, blocks = config["adapter_type"] == "light_adapter", int(config["num_res_blocks"])
    return compose(request, partial(tencent, light=light, blocks=blocks))


def _config(request: ExportRequest) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], request.artifact.facts["config"])


def _formats(
    kind: str,
    title: str,
    network: str,
    file: tuple[Callable[[ExportRequest], Composed], tuple[str, ...]],
    other: tuple[str, str, Callable[[ExportRequest], Composed], tuple[str, ...]],
) -> tuple[Format, ...]:
    """One file with diffusers' keys, the folder, and one file with the keys of `other`; each with its readers."""
    shared: dict[str, Any] = {"kind": kind, "families": TRAINED}
    keys, owner, compose_other, others = other
    return (
        Format(kind, f"{title} (diffusers keys)", ".safetensors", opens_in=file[1], compose=file[0], **shared),
        NetworkFolder(
            f"{kind}_folder", f"{title} folder", "", opens_in=("diffusers",), compose=compose, **shared,
            network=network,
        ),
        Format(
            f"{kind}_{keys}", f"{title} ({owner} keys)", ".safetensors", opens_in=others,
            compose=compose_other, **shared,
        ),
    )  # fmt: skip


FORMATS = (
    *_formats(
        "controlnet",
        "ControlNet",
        "ControlNetModel",
        (compose, ("ComfyUI", "AUTOMATIC1111", "diffusers")),
        ("ldm", "LDM", compose_ldm, ("ComfyUI", "AUTOMATIC1111", "kohya", "diffusers")),
    ),
    *_formats(
        "t2i_adapter",
        "T2I-Adapter",
        "T2IAdapter",
        (compose_adapter, ("ComfyUI", "AUTOMATIC1111", "diffusers")),
        ("tencent", "TencentARC", compose_tencent, ("ComfyUI", "AUTOMATIC1111")),
    ),
)
