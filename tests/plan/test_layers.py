"""The layer tables from configs agree with the modules that diffusers builds from the same configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.estimate import trainable_parameters
from engine.plan.bases import ASSETS
from engine.plan.layers import targeted, text_layers, unet_layers
from tests.plan.conftest import make_plan

torch = pytest.importorskip("torch")


def config(path: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ASSETS / path).read_text())
    return data


def shape(module: Any) -> tuple[int, int, int] | None:
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features, 1
    if isinstance(module, torch.nn.Conv2d):
        return module.in_channels, module.out_channels, module.kernel_size[0]
    return None


# Layers before and behind the blocks, which no LoRA role names.
OUTSIDE = ("conv_in", "conv_out", "time_embedding", "add_embedding")


@pytest.mark.parametrize(
    "name", ["families/sd1/unet.json", "families/sdxl/unet.json", "tiny/unet/config.json"]
)
def test_the_unet_table_is_what_diffusers_builds(name: str) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config(name))
    real = {path: shape(module) for path, module in unet.named_modules() if shape(module)}
    table = {layer.path: (layer.inputs, layer.outputs, layer.kernel) for layer in unet_layers(config(name))}
    assert table == {path: sizes for path, sizes in real.items() if not path.startswith(OUTSIDE)}


@pytest.mark.parametrize("targets", ["attention", "attention_ff", "all"])
def test_the_parameter_count_is_what_peft_injects(targets: str, pictures: Path) -> None:
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig, inject_adapter_in_model

    facts = config("tiny/unet/config.json")
    layers = unet_layers(facts)
    plan = make_plan(pictures, lora__targets=targets, lora__rank=4)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(facts)
        names = [layer.path for layer in targeted(layers, targets)]
        inject_adapter_in_model(LoraConfig(r=4, target_modules=names), unet)
    real = sum(value.numel() for path, value in unet.named_parameters() if ".lora_" in path)
    assert trainable_parameters(plan, layers, text_layers(config("tiny/text_encoder/config.json"))) == real


def test_sd15_attention_lora_of_rank_16_has_its_published_size() -> None:
    layers = unet_layers(config("families/sd1/unet.json"))
    assert len(targeted(layers, "attention")) == 128
    assert len(targeted(layers, "attention_ff")) == 192
    assert sum(layer.lora_parameters(16) for layer in targeted(layers, "attention")) == 3_188_736


def test_the_text_encoder_has_72_layers() -> None:
    layers = text_layers(config("families/sd1/text_encoder.json"))
    assert len(layers) == 72
    assert len(targeted(layers, "attention")) == 48
