"""Base models as people really have them: torn, prefixed, in another layout, damaged, or in pieces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import UserError
from engine.families.load import load_family
from engine.models.detect import detect
from engine.planning.check import check
from tests.support.loaded import as_file
from tests.support.runs import quick_plan

FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
Tensors = dict[str, Tensor]


@pytest.fixture
def folder(sd1_folder: Path, tmp_path: Path) -> Path:
    """A diffusers folder that a test may change."""
    return Path(shutil.copytree(sd1_folder, tmp_path / "model"))


def _rewrite(file: Path, change: Callable[[Tensors], Tensors]) -> None:
    with safe_open(file, "pt") as reader:
        metadata = reader.metadata()
    tensors = {name: value.clone() for name, value in load_file(file).items()}
    save_file(change(tensors), file, metadata=metadata)


def _without(word: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if word not in name}


def _same(one: Path, other: Path, part: str) -> bool:
    first, second = (load_family(path).parts[part].state_dict() for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ("text_encoder", "layers.2."),
        ("text_encoder", "final_layer_norm.bias"),
        ("unet", "mid_block.attentions.0.norm.weight"),
        ("vae", "decoder.conv_out.bias"),
    ],
)
def test_a_part_that_lacks_tensors_is_named_by_check(
    part: str, word: str, folder: Path, pictures: Path
) -> None:
    _rewrite(folder / FILES[part], _without(word))
    (problem,) = [one for one in check(quick_plan(folder, pictures)) if one.key == "base.model"]
    assert problem.level == "error"
    text = f"{problem.what} {problem.why}"
    assert part in text and word in text


@pytest.mark.parametrize("part", FILES)
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_prefix_that_all_names_have_is_taken_off(
    prefix: str, part: str, folder: Path, sd1_folder: Path
) -> None:
    _rewrite(folder / FILES[part], lambda tensors: {prefix + name: value for name, value in tensors.items()})
    assert _same(folder, sd1_folder, part)


def test_another_shape_and_what_belongs_to_nothing_are_named(folder: Path) -> None:
    file = folder / FILES["unet"]
    _rewrite(file, lambda tensors: tensors | {"conv_in.bias": torch.zeros(3)})
    with pytest.raises(UserError, match="does not fit") as caught:
        load_family(folder)
    assert "conv_in.bias" in str(caught.value)
    _rewrite(file, lambda tensors: tensors | {"conv_in.weight.absmax": torch.zeros(3)})
    with pytest.raises(UserError, match="no place for") as caught:
        detect(folder)
    assert "conv_in.weight.absmax" in str(caught.value)


def _sharded(folder: Path, torn: bool) -> None:
    file = folder / FILES["unet"]
    tensors = load_file(file)
    names = sorted(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    places: dict[str, str] = {}
    for number, half in enumerate(halves, 1):
        shard = file.with_name(f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors")
        kept = half[:-1] if torn and number == 2 else half
        save_file({name: tensors[name].clone() for name in kept}, shard)
        places |= dict.fromkeys(half, shard.name)
    file.unlink()
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_one_part_and_a_torn_one_is_named(folder: Path, sd1_folder: Path) -> None:
    _sharded(folder, torn=False)
    assert _same(folder, sd1_folder, "unet")
    shutil.copy(sd1_folder / FILES["unet"], folder / FILES["unet"])
    for shard in (folder / "unet").glob("*-of-*"):
        shard.unlink()
    assert _same(folder, sd1_folder, "unet")  # an index that is left from another download
    _sharded(folder, torn=True)
    with pytest.raises(UserError, match="lacks 1 of"):
        detect(folder)


def test_each_part_keeps_the_precision_of_the_file_that_is_loaded(folder: Path) -> None:
    file = folder / FILES["unet"]
    wide = {name: value.float() + 1e-5 for name, value in load_file(file).items()}
    save_file(wide, file)
    half = {name: value.half() for name, value in wide.items()}
    save_file(half, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    parts = load_family(folder).parts
    assert all(torch.equal(value, wide[name]) for name, value in parts["unet"].state_dict().items())
    assert next(parts["text_encoder"].parameters()).dtype == torch.float16


def test_pickled_parts_are_read_and_those_without_numbers_are_named(folder: Path, sd1_folder: Path) -> None:
    file = folder / FILES["text_encoder"]
    tensors = load_file(file)
    file.unlink()
    torch.save(tensors, file.with_name("pytorch_model.bin"))
    assert _same(folder, sd1_folder, "text_encoder")
    torch.save(
        {name: value.to("meta") for name, value in tensors.items()}, file.with_name("pytorch_model.bin")
    )
    with pytest.raises(UserError, match="holds no numbers"):
        load_family(folder)
    torch.save(_without("layers.1.")(tensors), file.with_name("pytorch_model.bin"))
    with pytest.raises(UserError, match="lacks"):
        load_family(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", FILES)
def test_a_number_that_is_not_finite_is_named_at_load(part: str, value: float, folder: Path) -> None:
    named = []

    def damage(tensors: Tensors) -> Tensors:
        name = sorted(tensors)[len(tensors) // 2]
        named.append(name)
        tensors[name].view(-1)[-1] = value
        return tensors

    _rewrite(folder / FILES[part], damage)
    with pytest.raises(UserError, match="not finite") as caught:
        load_family(folder)
    assert part in str(caught.value) and named[0].removeprefix("text_model.") in str(caught.value)


def test_a_tokenizer_without_a_limit_is_held_to_the_encoders_positions(folder: Path) -> None:
    file = folder / "tokenizer" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 8192}))
    family = load_family(folder)
    positions = json.loads((folder / "text_encoder" / "config.json").read_text())["max_position_embeddings"]
    assert family.tokenize(["a " * 500])["text_encoder"].shape == (1, positions)


CLIP, OPEN = "conditioner.embedders.0.transformer.", "cond_stage_model.model."


def test_sdxls_first_encoder_is_read_without_its_level(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    file = as_file(narrow_models["sdxl"], tmp_path / "m" / "model.safetensors")
    _rewrite(
        file,
        lambda tensors: {name.replace(f"{CLIP}text_model.", CLIP): value for name, value in tensors.items()},
    )
    assert _same(file, narrow_models["sdxl"], "text_encoder")


@pytest.mark.parametrize("extras", [True, False])
def test_sd2_keeps_every_layer_that_is_used(
    extras: bool, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    file = as_file(narrow_models["sd2-eps"], tmp_path / "m" / "model.safetensors")
    blocks = [
        name.split("resblocks.")[1] for name in load_file(file) if f"{OPEN}transformer.resblocks." in name
    ]
    last = max(int(block.partition(".")[0]) for block in blocks)
    _rewrite(file, _without(f"resblocks.{last}."))
    if not extras:
        _rewrite(file, _without("text_projection"))
        _rewrite(file, _without("logit_scale"))
    assert _same(file, narrow_models["sd2-eps"], "text_encoder")
    _rewrite(file, _without("resblocks.0."))
    with pytest.raises(UserError):
        load_family(file)


def test_sd2_with_an_encoder_named_as_transformers_does_is_sd2(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    file = as_file(narrow_models["sd2-v"], tmp_path / "m" / "model.safetensors")
    text = load_file(narrow_models["sd2-v"] / FILES["text_encoder"])
    _rewrite(
        file,
        lambda tensors: (
            _without(OPEN)(tensors)
            | {f"cond_stage_model.transformer.{name}": value for name, value in text.items()}
        ),
    )
    assert detect(file).family == "sd2"
    assert _same(file, narrow_models["sd2-v"], "text_encoder")


def _vae_file(folder: Path, out: Path, form: str) -> Path:
    """The folder's VAE as one file."""
    out.parent.mkdir(parents=True)
    if form.startswith("ldm"):
        whole = load_file(as_file(folder, out.parent / "whole" / "model.safetensors"))
        start = "first_stage_model."
        tensors = {name: value.clone() for name, value in whole.items() if name.startswith(start)}
        if form.endswith("bare"):
            tensors = {name.removeprefix(start): value for name, value in tensors.items()}
    else:
        tensors = load_file(folder / FILES["vae"])
    if out.suffix == ".safetensors":
        save_file(tensors, out)
    else:
        torch.save({"state_dict": tensors | {"loss.logvar": torch.zeros(1)}}, out)
    return out


@pytest.mark.parametrize("form", ["ldm", "ldm bare", "diffusers"])
@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_vae_is_taken_from_a_file(
    ending: str, form: str, folder: Path, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    vae = _vae_file(sd1_folder, tmp_path / "vaes" / f"vae.{ending}", form)
    assert not [
        one for one in check(quick_plan(folder, pictures, base__vae=str(vae))) if one.level == "error"
    ]
    own, other = load_family(folder), load_family(folder, vae=str(vae))
    first, second = own.parts["vae"].state_dict(), other.parts["vae"].state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert other.configs["vae"]["scaling_factor"] == own.configs["vae"]["scaling_factor"]
    assert other.configs["vae"]["norm_num_groups"] == own.configs["vae"]["norm_num_groups"]


def _vae_problem(folder: Path, pictures: Path, vae: Path) -> str:
    plan = quick_plan(folder, pictures, base__vae=str(vae))
    (problem,) = [one for one in check(plan) if one.key == "base.vae"]
    assert problem.level == "error" and problem.fix
    return f"{problem.what} {problem.why}"


def test_what_is_no_vae_for_this_base_is_named(folder: Path, pictures: Path, tmp_path: Path) -> None:
    assert "does not exist" in _vae_problem(folder, pictures, tmp_path / "gone.safetensors")
    assert "no VAE" in _vae_problem(folder, pictures, folder / FILES["text_encoder"])
    (tmp_path / "lora.safetensors").write_bytes(b"")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    assert "LoRA" in _vae_problem(folder, pictures, tmp_path / "lora.safetensors")
    other = tmp_path / "other"
    shutil.copytree(folder / "vae", other)
    config = json.loads((other / "config.json").read_text())
    for change, word in (({"scaling_factor": 0.9}, "another family"), ({"latent_channels": 16}, "16")):
        (other / "config.json").write_text(json.dumps(config | change))
        assert word in _vae_problem(folder, pictures, other)
    marked = tmp_path / "xl.safetensors"
    save_file(
        load_file(folder / FILES["vae"]),
        marked,
        {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"},
    )
    assert "another family" in _vae_problem(folder, pictures, marked)
    _rewrite(marked, _without("encoder.conv_in"))
    assert "encoder is missing" in _vae_problem(folder, pictures, marked)


def test_a_model_without_a_vae_asks_for_one_and_takes_it(
    folder: Path, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    file = as_file(sd1_folder, tmp_path / "m" / "model.safetensors")
    _rewrite(file, _without("first_stage_model."))
    shutil.rmtree(folder / "vae")
    vae = sd1_folder / "vae"
    for base in (file, folder):
        keys = [one.key for one in check(quick_plan(base, pictures)) if one.level == "error"]
        assert keys == ["base.vae"]
        with pytest.raises(UserError, match="without a VAE"):
            load_family(base)
        given: dict[str, Any] = {"base__vae": str(vae)}
        assert not [one for one in check(quick_plan(base, pictures, **given)) if one.level == "error"]
        assert "vae" in load_family(base, vae=str(vae)).parts


def test_sources_that_disagree_ask_for_the_prediction(
    narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    file = as_file(narrow_models["sdxl"], tmp_path / "m" / "model.safetensors")
    file.with_suffix(".yaml").write_text("model:\n  params:\n    parameterization: v\n")
    with safe_open(file, "pt") as reader:
        metadata = reader.metadata() | {"modelspec.prediction_type": "epsilon"}
    save_file({name: value.clone() for name, value in load_file(file).items()}, file, metadata)
    (problem,) = [one for one in check(quick_plan(file, pictures)) if one.key == "base.prediction"]
    assert problem.level == "error" and "model.yaml" in problem.why and "epsilon" in problem.why
    with pytest.raises(UserError, match="cannot be told"):
        load_family(file)
    settled = check(quick_plan(file, pictures, base__prediction="v_prediction"))
    assert not [one for one in settled if one.key == "base.prediction"]
    assert load_family(file, prediction="v_prediction").schedule.prediction == "v_prediction"
