"""A model written as one file reads back as the same model, in our reader and in diffusers' own."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.errors import UserError
from engine.families.single_file import read_single_file, write_single_file
from engine.models.detect import detect
from engine.models.keymap_text import for_module
from engine.models.published import published
from engine.models.single_file_config import METADATA_KEY, infer_configs, parts_of
from engine.models.single_file_layout import key_maps
from tests.export.tiny_models import make_parts, outputs, text_config, unet_config

FAMILIES = ("sd1", "sd2", "sdxl")
Parts = dict[str, nn.Module]
Configs = dict[str, dict[str, Any]]


def _configs(family: str) -> Configs:
    configs: Configs = {
        part: text_config(family, part) for part in parts_of(family) if part.startswith("text")
    }
    configs["unet"] = unet_config(family)
    narrow = {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1}
    configs["vae"] = published(family, "vae") | narrow
    configs["scheduler"] = published(family, "scheduler")
    return configs


def _model(family: str) -> tuple[Parts, Configs]:
    configs = _configs(family)
    parts = make_parts(family)
    parts["vae"] = AutoencoderKL.from_config(configs["vae"]).eval()
    return parts, configs


def _write(path: Path, family: str, **options: Any) -> tuple[Parts, Configs]:
    parts, configs = _model(family)
    states = {name: part.state_dict() for name, part in parts.items()}
    write_single_file(path, family, states, configs, **options)
    return parts, configs


def _build(configs: Configs, parts: Any) -> Parts:
    """Fresh modules from the configs that were read, with the weights that were read."""
    modules: Parts = {}
    for name, state in parts.items():
        if name.startswith("text"):
            kind = CLIPTextModelWithProjection if name == "text_encoder_2" else CLIPTextModel
            modules[name] = kind(CLIPTextConfig(**configs[name])).eval()
        else:
            kind = UNet2DConditionModel if name == "unet" else AutoencoderKL
            modules[name] = kind.from_config(configs[name]).eval()
        own = modules[name].state_dict().keys()
        modules[name].load_state_dict(
            for_module(state.load(), own) if name.startswith("text") else state.load()
        )
    return modules


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrow_model_comes_back_bit_for_bit(family: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    parts, configs = _write(file, family, metadata={"note": "x"})
    single = read_single_file(file)
    assert single.family == family
    assert single.metadata["note"] == "x"
    for part, config in configs.items():
        assert single.configs[part] == config, part
    again = _build(single.configs, single.parts)
    before, after = outputs(family, parts), outputs(family, again)
    assert all(torch.equal(before[part], after[part]) for part in before)
    pixels = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        old = parts["vae"](pixels, generator=torch.Generator().manual_seed(1)).sample
        assert torch.equal(old, again["vae"](pixels, generator=torch.Generator().manual_seed(1)).sample)


def test_diffusers_reads_the_file_as_the_same_model(sd1_folder: Path, tmp_path: Path) -> None:
    original = StableDiffusionPipeline.from_pretrained(sd1_folder, torch_dtype=torch.float32)
    names = ("unet", "vae", "text_encoder")
    configs = {name: dict(getattr(original, name).config.items()) for name in names[:2]}
    configs["text_encoder"] = original.text_encoder.config.to_dict()
    configs["scheduler"] = dict(original.scheduler.config.items())
    states = {name: getattr(original, name).state_dict() for name in names}
    file = tmp_path / "model.safetensors"
    write_single_file(file, "sd1", states, configs)
    loaded = StableDiffusionPipeline.from_single_file(
        str(file), config=str(sd1_folder), local_files_only=True, torch_dtype=torch.float32
    )
    for name in names:
        got = getattr(loaded, name).state_dict()
        assert got.keys() == states[name].keys()
        assert all(torch.equal(got[key], value) for key, value in states[name].items()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_configs_are_found_from_the_shapes_alone(family: str) -> None:
    configs = {part: published(family, part) for part in (*parts_of(family), "scheduler")}
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
        }
        for part in parts_of(family)[2:]:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            modules[part] = kind(CLIPTextConfig(**configs[part]))
    for part, slots in key_maps(family, configs).items():
        own = for_module(slots, modules[part].state_dict())
        for name, value in modules[part].state_dict().items():
            slot, shape = own[name], tuple(value.shape)
            thirds = (3 * shape[0], *shape[1:])
            shapes[slot.key] = (
                thirds if slot.form in ("q", "k", "v") else (*shape, 1, 1) if slot.form == "conv" else shape
            )
    if family == "sd2":  # the file has one more layer than diffusers reads
        extra = {
            k.replace("resblocks.22.", "resblocks.23."): v for k, v in shapes.items() if "resblocks.22." in k
        }
        shapes |= extra
    assert infer_configs(Path("x"), family, shapes, {}) == configs


def test_half_precision_is_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    parts, _ = _write(file, "sd1", dtype=torch.float16)
    single = read_single_file(file)
    assert detect(file).dtype == "fp16"
    name = "conv_in.weight"
    assert torch.equal(single.parts["unet"][name], parts["unet"].state_dict()[name].half())
    assert single.parts["unet"].load(torch.float32)[name].dtype == torch.float32


def test_sd2_files_hold_the_layer_and_projection_that_other_programs_expect(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    _write(file, "sd2")
    tensors = load_file(file)
    prefix = "cond_stage_model.model."
    for name in ("attn.in_proj_weight", "mlp.c_fc.bias", "ln_2.weight"):
        last, copy = (tensors[f"{prefix}transformer.resblocks.{layer}.{name}"] for layer in (1, 2))
        assert torch.equal(last, copy)
    assert f"{prefix}text_projection" in tensors
    assert f"{prefix}logit_scale" in tensors


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_v_prediction_survives(family: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    parts, configs = _model(family)
    configs["scheduler"]["prediction_type"] = "v_prediction"
    write_single_file(file, family, {name: part.state_dict() for name, part in parts.items()}, configs)
    assert read_single_file(file).configs["scheduler"]["prediction_type"] == "v_prediction"
    assert detect(file).prediction == "v_prediction"
    assert ("v_pred" in load_file(file)) is (family == "sdxl")


def test_a_lost_text_model_level_is_put_back(tmp_path: Path) -> None:
    parts, _ = _write(tmp_path / "whole.safetensors", "sd1")
    tensors = load_file(tmp_path / "whole.safetensors")
    with (tmp_path / "whole.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    lost = {name.replace("transformer.text_model.", "transformer."): value for name, value in tensors.items()}
    save_file(lost, tmp_path / "lost.safetensors", metadata=header["__metadata__"])
    state = read_single_file(tmp_path / "lost.safetensors").parts["text_encoder"].load()
    own = parts["text_encoder"].state_dict()
    assert all(torch.equal(value, own[name]) for name, value in for_module(state, own).items())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_ckpt_reads_like_the_safetensors(legacy: bool, tmp_path: Path) -> None:
    _write(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(tmp_path / "model.safetensors")
    torch.save(
        {"state_dict": tensors, "global_step": 7},
        tmp_path / "model.ckpt",
        _use_new_zipfile_serialization=not legacy,
    )
    assert detect(tmp_path / "model.ckpt").family == "sd1"
    one, two = read_single_file(tmp_path / "model.ckpt"), read_single_file(tmp_path / "model.safetensors")
    for part in two.parts:
        first, second = one.parts[part].load(), two.parts[part].load()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def _changed(folder: Path, change: Any) -> Path:
    _write(folder / "model.safetensors", "sd1")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "changed.safetensors")
    return folder / "changed.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "first_stage_model.decoder.conv_out.bias",
        "first_stage_model.decoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
        "model.diffusion_model.out.2.weight",
    ],
)
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    file = _changed(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(UserError) as caught:
        read_single_file(file)
    assert "not a whole model" in caught.value.what
    assert name in str(caught.value)


def test_a_unet_with_unknown_tensors_is_refused_and_other_extras_are_listed(tmp_path: Path) -> None:
    def extras(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model_ema.decay"] = torch.zeros(1)
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.zeros(1, 12)

    file = _changed(tmp_path, extras)
    assert read_single_file(file).ignored == (
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "model_ema.decay",
    )
    odd = _changed(
        tmp_path,
        lambda tensors: tensors.update({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(1, 1)}),
    )
    with pytest.raises(UserError, match="label_emb"):
        read_single_file(odd)


@pytest.mark.parametrize(
    "hint",
    [
        "[]",
        "{",
        '{"unet": 3}',
        '{"unet": {"norm_num_groups": -1}}',
        '{"unet": {"attention_head_dim": "8"}}',
        '{"unet": {"norm_num_groups": 1e9}}',
        '{"vae": {"scaling_factor": -1.0}}',
        '{"text_encoder": {"hidden_act": "__import__(os)"}}',
        '{"text_encoder": {"num_attention_heads": true}}',
    ],
)
def test_metadata_that_does_not_make_sense_is_refused(hint: str, tmp_path: Path) -> None:
    _write(tmp_path / "model.safetensors", "sd1")
    save_file(
        load_file(tmp_path / "model.safetensors"), tmp_path / "odd.safetensors", metadata={METADATA_KEY: hint}
    )
    with pytest.raises(UserError, match=METADATA_KEY if hint[1:2] in "]" else "metadata"):
        read_single_file(tmp_path / "odd.safetensors")


def test_metadata_cannot_change_what_the_shapes_say(tmp_path: Path) -> None:
    _write(tmp_path / "model.safetensors", "sd1")
    hint = json.dumps({"unet": {"block_out_channels": [9999], "_class_name": "Evil"}, "other": {"x": 1}})
    save_file(
        load_file(tmp_path / "model.safetensors"), tmp_path / "odd.safetensors", metadata={METADATA_KEY: hint}
    )
    configs = read_single_file(tmp_path / "odd.safetensors").configs
    assert configs["unet"]["block_out_channels"] == [16, 32, 48, 48]
    assert configs["unet"]["_class_name"] == "UNet2DConditionModel"
    assert "other" not in configs


def test_a_part_that_does_not_fit_its_config_is_not_written(tmp_path: Path) -> None:
    parts, configs = _model("sd1")
    states = {name: part.state_dict() for name, part in parts.items()}
    states["unet"].pop("conv_in.weight")
    with pytest.raises(UserError, match="unet"):
        write_single_file(tmp_path / "m.safetensors", "sd1", states, configs)
    with pytest.raises(UserError, match="vae"):
        write_single_file(tmp_path / "m.safetensors", "sd1", {"unet": {}, "text_encoder": {}}, configs)
    assert list(tmp_path.iterdir()) == []
