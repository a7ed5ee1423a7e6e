"""Small models with random weights that make condition maps, laid out as the hub's client keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)

from engine.dataset.annotators import KINDS
from engine.dataset.makers.hed import Hed
from engine.dataset.makers.lineart import Drawing


def snapshot_of(hub: Path, name: str) -> Path:
    """Where the hub's client keeps the files of a model."""
    folder = hub / f"models--{name.replace('/', '--')}" / "snapshots" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_kind(kind: str, hub: Path) -> None:
    """Everything that a kind reads, under the hub's names."""
    folders = [snapshot_of(hub, weights.hub) for weights in KINDS[kind].weights]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "depth":
            write_depth_anything(folders[0])
        elif kind == "openpose":
            write_vitpose(folders[0])
            write_detector(folders[1])
        elif kind == "hed":
            torch.save(Hed().state_dict(), folders[0] / "ControlNetHED.pth")
        elif kind == "lineart":
            torch.save(Drawing().state_dict(), folders[0] / "sk_model.pth")


def write_depth_anything(folder: Path) -> None:
    """Depth Anything over a DINOv2 of two layers."""
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14,
        out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    _save(DepthAnythingForDepthEstimation(config), folder)
    _prepare(folder, size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14)


def write_dpt(folder: Path) -> None:
    """A DPT of four layers."""
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
    )  # fmt: skip
    _save(DPTForDepthEstimation(config), folder)
    _prepare(folder, size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def write_vitpose(folder: Path, joints: int = 17) -> None:
    """A ViTPose that is sure of every joint."""
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        out_indices=[2],
    )  # fmt: skip
    model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=joints))
    _fill(model, "head.conv.bias", 1.0)
    _save(model, folder)


def write_detector(folder: Path, label: str = "person") -> None:
    """A detector that sees people everywhere."""
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[8, 16, 16], d_model=16, encoder_hidden_dim=16,
        encoder_ffn_dim=16, encoder_attention_heads=2, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16,
        decoder_layers=1, decoder_attention_heads=2, num_queries=4, id2label={0: label, 1: "cat"},
        label2id={label: 0, "cat": 1},
    )  # fmt: skip
    model = RTDetrForObjectDetection(config)
    _fill(model, "class_embed.0.bias", 3.0)
    _save(model, folder)


def _fill(model: Any, ending: str, value: float) -> None:
    found = [parameter for name, parameter in model.named_parameters() if name.endswith(ending)]
    assert found, [name for name, _ in model.named_parameters() if "bias" in name][-20:]
    for parameter in found:
        torch.nn.init.constant_(parameter, value)


def _save(model: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)


def _prepare(folder: Path, **said: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
