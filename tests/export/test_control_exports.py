"""ControlNets and T2I-Adapters in their files: read by diffusers itself, renamed as the original programs know them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file

from engine.errors import UserError
from engine.export.registry import export
from engine.methods.artifact import Artifact
from engine.methods.condition_nets import artifact_of
from engine.models.keymap_controlnet import controlnet_map
from engine.models.published import published
from engine.tensorfiles.memory import own_module
from tests.export.tiny_models import request, unet_config

# A full-size ControlNet's tensors, as the published files have them (SD 1.5 and SDXL).
PUBLISHED = {"sd1": 340, "sdxl": 844}


def controlnet(family: str) -> Any:
    torch.manual_seed(3)
    net = ControlNetModel.from_unet(UNet2DConditionModel.from_config(unet_config(family)))
    for value in net.parameters():
        value.data = torch.randn_like(value)
    return net


def adapter(kind: str, channels: int = 3) -> Any:
    torch.manual_seed(4)
    widths = [16, 32, 48] if kind == "light_adapter" else [16, 32, 48, 48]
    factor, blocks = 16 if kind.endswith("xl") else 8, 4 if kind == "light_adapter" else 2
    return T2IAdapter(channels, widths, blocks, factor, kind)


def artifact(net: Any, kind: str) -> Artifact:
    return artifact_of(net, kind)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_diffusers_reads_the_folder_and_the_file(family: str, tmp_path: Path) -> None:
    net = controlnet(family)
    made = artifact(net, "controlnet")
    export("controlnet_folder", request(made, tmp_path / "folder", family))
    export("controlnet", request(made, tmp_path / "file.safetensors", family))
    loaded = ControlNetModel.from_pretrained(tmp_path / "folder")
    assert same(loaded.state_dict(), net.state_dict())
    assert loaded.config.conditioning_channels == 3
    assert same(load_file(tmp_path / "file.safetensors"), net.state_dict())
    with safe_open(tmp_path / "file.safetensors", "pt") as reader:
        notes = reader.metadata()
    assert notes["sdtrain.plan_hash"] == "p" * 64
    assert notes["modelspec.architecture"].endswith("/controlnet")


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_ldm_keys_come_back_through_diffusers_own_converter(family: str, tmp_path: Path) -> None:
    net = controlnet(family)
    export("controlnet_ldm", request(artifact(net, "controlnet"), tmp_path / "ldm.safetensors", family))
    stored = load_file(tmp_path / "ldm.safetensors")
    assert all(name.startswith("control_model.") for name in stored)
    assert stored["control_model.input_hint_block.14.weight"].shape == (16, 256, 3, 3)
    back = convert_controlnet_checkpoint(dict(stored), dict(net.config))
    assert same(back, net.state_dict())


def test_sdxl_ldm_keys_differ_from_diffusers_converter_by_its_two_missing_names(tmp_path: Path) -> None:
    net = controlnet("sdxl")
    export("controlnet_ldm", request(artifact(net, "controlnet"), tmp_path / "ldm.safetensors", "sdxl"))
    stored = load_file(tmp_path / "ldm.safetensors")
    back = convert_controlnet_checkpoint(dict(stored), dict(net.config))
    missing = net.state_dict().keys() - back.keys()
    assert missing and all(name.startswith("add_embedding.") for name in missing)
    assert same(back, {name: value for name, value in net.state_dict().items() if name not in missing})
    assert torch.equal(
        stored["control_model.label_emb.0.2.weight"], net.state_dict()["add_embedding.linear_2.weight"]
    )


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_key_map_covers_a_full_size_controlnet(family: str) -> None:
    with torch.device("meta"):
        net = ControlNetModel.from_unet(
            UNet2DConditionModel.from_config(published(family, "unet")), load_weights_from_unet=False
        )
    names = controlnet_map(dict(net.config))
    assert names.keys() == net.state_dict().keys()
    assert len(set(names.values())) == len(names) == PUBLISHED.get(family, 340)


@pytest.mark.parametrize(
    ("kind", "family", "tensors"),
    [("full_adapter", "sd1", 38), ("full_adapter_xl", "sdxl", 38), ("light_adapter", "sd2", 80)],
)
def test_adapters_are_read_back_under_both_names(
    kind: str, family: str, tensors: int, tmp_path: Path
) -> None:
    net = adapter(kind)
    made = artifact(net, "t2i_adapter")
    export("t2i_adapter_folder", request(made, tmp_path / "folder", family))
    # diffusers maps the file, and unaligned weights take other kernels than the net's own.
    loaded = own_module(T2IAdapter.from_pretrained(tmp_path / "folder"))
    assert same(loaded.state_dict(), net.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        pairs = zip(loaded.eval()(picture), net.eval()(picture), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    export("t2i_adapter_tencent", request(made, tmp_path / "t.safetensors", family))
    stored = load_file(tmp_path / "t.safetensors")
    assert same(from_tencent(stored, kind == "light_adapter"), net.state_dict())
    if kind != "full_adapter_xl":
        assert len(stored) == tensors


def from_tencent(stored: dict[str, torch.Tensor], light: bool) -> dict[str, torch.Tensor]:
    """The way back, written from the table of TencentARC's names: two blocks a level in full adapters."""
    found = {}
    for name, value in stored.items():
        parts = name.split(".")
        if parts[0] == "body" and light and parts[2] == "body":
            parts[2] = "resnets"
        elif parts[0] == "body" and not light:
            number = int(parts[1])
            inner = ["in_conv"] if parts[2] == "in_conv" else ["resnets", str(number % 2), parts[2]]
            parts = ["body", str(number // 2), *inner, *parts[3:]]
        found["adapter." + ".".join(parts)] = value
    return found


def test_the_first_convolution_tells_programs_which_adapter_it_is(tmp_path: Path) -> None:
    made = artifact(adapter("full_adapter_xl", 1), "t2i_adapter")
    export("t2i_adapter_tencent", request(made, tmp_path / "t.safetensors", "sdxl"))
    assert load_file(tmp_path / "t.safetensors")["conv_in.weight"].shape[1] == 256


def test_a_light_adapter_is_refused_under_names_that_comfyui_fails_on(tmp_path: Path) -> None:
    made = artifact(adapter("light_adapter"), "t2i_adapter")
    with pytest.raises(UserError, match="light adapter"):
        export("t2i_adapter", request(made, tmp_path / "a.safetensors", "sd1"))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_as_a_whole_and_only_when_asked(tmp_path: Path) -> None:
    made = artifact(adapter("full_adapter"), "t2i_adapter")
    asked = request(made, tmp_path / "folder", "sd1")
    export("t2i_adapter_folder", asked)
    with pytest.raises(UserError, match="already there"):
        export("t2i_adapter_folder", asked)
    (tmp_path / "folder" / "stray").write_text("old")
    export("t2i_adapter_folder", request_over(asked))
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["adapter_type"] == "full_adapter" and config["downscale_factor"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def request_over(asked: Any) -> Any:
    from dataclasses import replace

    return replace(asked, overwrite=True)
