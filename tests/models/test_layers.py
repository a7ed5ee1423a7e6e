"""The layer tables from configs agree with the modules that diffusers builds from the same configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.models.bases import ASSETS
from engine.models.layers import Layer, targeted, text_layers
from engine.models.unet_layers import unet_layers
from engine.plan.methods.context import BaseShape
from engine.plan.methods.controlnet import ControlnetOptions
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.schema import Plan
from tests.support.plans import make_plan

torch = pytest.importorskip("torch")


def config(path: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ASSETS / path).read_text())
    return data


def trained(plan: Plan, unet: list[Layer], text: list[Layer], facts: dict[str, Any], width: int) -> int:
    """Numbers that the plan's method trains beside an SD 1.x base."""
    return plan.options.trained_parameters(BaseShape("sd1", facts, unet, text, width), plan.data.trigger)


def shape(module: Any) -> tuple[int, int, int] | None:
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features, 1
    if isinstance(module, torch.nn.Conv2d):
        return module.in_channels, module.out_channels, module.kernel_size[0]
    return None


# Layers before and behind the blocks, which no LoRA role names.
OUTSIDE = ("conv_in", "conv_out", "time_embedding", "add_embedding")


@pytest.mark.parametrize(
    "name",
    ["families/sd1/unet.json", "families/sd2/unet.json", "families/sdxl/unet.json", "tiny/unet/config.json"],
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
    text = text_layers(config("tiny/text_encoder/config.json"))
    assert trained(plan, layers, text, facts, 0) == real


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("sd1", {"method": "controlnet"}),
        ("sdxl", {"method": "controlnet", "controlnet__channels": "1"}),
        ("sd1", {"method": "t2i_adapter"}),
        ("sdxl", {"method": "t2i_adapter", "t2i_adapter__channels": "1"}),
        ("sd1", {"method": "t2i_adapter", "t2i_adapter__kind": "light_adapter"}),
    ],
)
def test_condition_networks_are_counted_within_a_hundredth(
    family: str, changes: dict[str, object], pictures: Path
) -> None:
    from diffusers import UNet2DConditionModel

    from engine.families.registry import FAMILIES
    from engine.families.variance_preserving import VariancePreserving

    facts = config(f"families/{family}/unet.json")
    plan = make_plan(pictures, **changes)
    options = plan.options
    schedule = VariancePreserving.from_config({})
    with torch.device("meta"):
        parts = {"unet": UNet2DConditionModel.from_config(facts)}
        model = FAMILIES[family](parts, {}, schedule, {"unet": facts, "vae": {}})
        if isinstance(options, ControlnetOptions):
            net = model.new_controlnet(int(options.channels))
        else:
            assert isinstance(options, T2iAdapterOptions)
            net = model.new_t2i_adapter(options.kind, int(options.channels))
    real = sum(value.numel() for value in net.parameters())
    counted = trained(plan, unet_layers(facts), [], facts, 0)
    assert counted == pytest.approx(real, rel=0.01)


def test_new_words_and_hypernetworks_are_counted(pictures: Path) -> None:
    facts = config("families/sd1/unet.json")
    words = make_plan(pictures, method="textual_inversion", data__trigger="zqx", textual_inversion__vectors=3)
    assert trained(words, unet_layers(facts), [], facts, 768) == 3 * 768
    networks = make_plan(pictures, method="hypernetwork")
    pairs = sum(2 * (width * 2 * width * 2 + 3 * width) for width in (320, 640, 768, 1280))
    assert trained(networks, unet_layers(facts), [], facts, 768) == pairs


def test_sd15_attention_lora_of_rank_16_has_its_published_size() -> None:
    layers = unet_layers(config("families/sd1/unet.json"))
    assert len(targeted(layers, "attention")) == 128
    assert len(targeted(layers, "attention_ff")) == 192
    assert sum(layer.lora_parameters(16) for layer in targeted(layers, "attention")) == 3_188_736


def test_the_text_encoder_has_72_layers() -> None:
    layers = text_layers(config("families/sd1/text_encoder.json"))
    assert len(layers) == 72
    assert len(targeted(layers, "attention")) == 48
