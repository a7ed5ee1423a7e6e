"""The key maps are those of the live modules on one side, and of diffusers' own converter on the other."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as oracle
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.errors import UserError
from engine.families.stored_forms import pack, unpack
from engine.models.keymap import Form, KeyMap
from engine.models.keymap_text import for_module, text_map, with_level
from engine.models.keymap_unet import PREFIX, unet_map, unet_module_map
from engine.models.keymap_vae import vae_map
from engine.models.published import published
from engine.models.specs import FAMILIES as SPECS

FAMILIES = ("sd1", "sd2", "sdxl")
ODD_UNETS: dict[str, dict[str, Any]] = {
    "published": {},
    "narrow": {"block_out_channels": [16, 32, 48, 48], "norm_num_groups": 8, "cross_attention_dim": 24},
    "equal widths": {"block_out_channels": [32, 32, 32, 32], "norm_num_groups": 8},
    "falling widths": {"block_out_channels": [64, 32, 32, 32], "norm_num_groups": 8},
    "one layer": {"layers_per_block": 1, "block_out_channels": [32, 32, 64, 64]},
    "three layers": {"layers_per_block": 3, "block_out_channels": [32, 32, 64, 64]},
    "deep attention": {"transformer_layers_per_block": 2, "block_out_channels": [32, 32, 64, 64]},
    "attention everywhere": {
        "block_out_channels": [32, 32, 64, 64],
        "down_block_types": ["CrossAttnDownBlock2D"] * 4,
        "up_block_types": ["CrossAttnUpBlock2D"] * 4,
    },
    "linear projections": {"use_linear_projection": True, "block_out_channels": [32, 32, 64, 64]},
}


def _meta(kind: Any, config: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        module: nn.Module = kind(config) if isinstance(config, CLIPTextConfig) else kind.from_config(config)
    return module


def _text(family: str, part: str, **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    config = published(family, part) | changes
    kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    return _meta(kind, CLIPTextConfig(**config)), config


def _stored(slots: KeyMap, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    grouped: dict[str, dict[Form, torch.Tensor]] = {}
    for name, slot in slots.items():
        grouped.setdefault(slot.key, {})[slot.form] = state[name]
    return {key: pack(forms) for key, forms in grouped.items()}


@pytest.mark.parametrize("shape", ODD_UNETS)
def test_the_unet_map_agrees_with_diffusers_converter(shape: str) -> None:
    config = published("sd1", "unet") | ODD_UNETS[shape]
    state = _meta(UNet2DConditionModel, config).state_dict()
    names = unet_map(config)
    assert names.keys() == state.keys()
    stored = {key: state[name] for name, key in names.items()}
    assert len(stored) == len(state)
    converted = oracle.convert_ldm_unet_checkpoint(stored, config)
    assert converted.keys() == state.keys()
    assert all(converted[name] is state[name] for name in state)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_the_other_published_unets_agree_too(family: str) -> None:
    config = published(family, "unet")
    state = _meta(UNet2DConditionModel, config).state_dict()
    stored = {key: state[name] for name, key in unet_map(config).items()}
    converted = oracle.convert_ldm_unet_checkpoint(stored, config)
    assert converted.keys() == state.keys()
    assert all(converted[name] is state[name] for name in state)


def test_known_names_of_the_published_sd1_checkpoint_are_there() -> None:
    names = set(unet_map(published("sd1", "unet")).values())
    known = {
        "input_blocks.4.0.skip_connection.weight",
        "input_blocks.11.0.out_layers.3.bias",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "output_blocks.2.1.conv.weight",
        "output_blocks.8.2.conv.weight",
        "output_blocks.11.1.proj_out.weight",
        "out.2.bias",
    }
    assert {PREFIX + name for name in known} <= names
    assert len(names) == 686


def test_module_names_for_sdxl_are_sgms() -> None:
    modules = unet_module_map(published("sdxl", "unet"))
    assert modules["down_blocks.1.attentions.0.proj_in"] == "input_blocks.4.1.proj_in"
    assert modules["up_blocks.0.attentions.1.transformer_blocks.9.attn2.to_out.0"] == (
        "output_blocks.1.1.transformer_blocks.9.attn2.to_out.0"
    )
    assert modules["down_blocks.0.downsamplers.0.conv"] == "input_blocks.3.0.op"


@pytest.mark.parametrize(
    "change", [{"down_block_types": ["AttnDownBlock2D"] * 4}, {"class_embed_type": "timestep"}]
)
def test_a_unet_that_is_not_stable_diffusions_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        unet_map(published("sd1", "unet") | change)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"block_out_channels": [16, 32, 32, 32], "norm_num_groups": 8},
        {"block_out_channels": [32, 16], "norm_num_groups": 8, "layers_per_block": 1}
        | {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2},
    ],
)
def test_the_vae_map_agrees_with_diffusers_converter(change: dict[str, Any]) -> None:
    config = published("sd1", "vae") | change
    state = _meta(AutoencoderKL, config).state_dict()
    slots = vae_map(config)
    assert slots.keys() == state.keys()
    if change:
        draw = torch.Generator().manual_seed(0)
        state = {name: torch.randn(value.shape, generator=draw) for name, value in state.items()}
    stored = _stored(slots, state)
    attention = stored["first_stage_model.decoder.mid.attn_1.q.weight"]
    assert attention.dim() == 4
    converted = oracle.convert_ldm_vae_checkpoint(stored, config)
    assert converted.keys() == state.keys()
    for name, value in state.items():
        assert converted[name].shape == value.shape
        assert not change or torch.equal(converted[name], value)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_maps_cover_every_parameter(family: str) -> None:
    for part in SPECS[family].text:
        module, config = _text(family, part.name)
        assert text_map(part, config).keys() == with_level(module.state_dict()).keys()


@pytest.mark.parametrize(
    ("family", "part"), [(family, part) for family in FAMILIES for part in SPECS[family].text_parts]
)
def test_text_weights_come_back_through_diffusers_converter(family: str, part: str) -> None:
    width = 1024 if family == "sd2" else 16
    module, config = _text(
        family, part, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=10, projection_dim=width,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(value.shape, generator=draw)
        for name, value in with_level(module.state_dict()).items()
    }
    row = SPECS[family].text_part(part)
    slots = text_map(row, config)
    stored = _stored(slots, state)
    if row.layout == "hf":
        converted = oracle.convert_ldm_clip_checkpoint(stored)
    else:
        converted = oracle.convert_open_clip_checkpoint(module, stored, prefix=row.prefix)
    assert converted.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(converted[name], value), name
        assert torch.equal(unpack(stored[slots[name].key], slots[name].form), value), name


def test_names_take_and_lose_the_text_model_level() -> None:
    flat, projected = _text("sdxl", "text_encoder")[0], _text("sdxl", "text_encoder_2")[0]
    for module in (flat, projected):
        own = module.state_dict()
        leveled = with_level(own)
        assert all(name.startswith(("text_model.", "text_projection.")) for name in leveled)
        assert for_module(leveled, own.keys()).keys() == own.keys()
        assert with_level(leveled).keys() == leveled.keys()
