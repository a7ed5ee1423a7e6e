"""Each family loads from a folder and from a single file as the same model, and says what it cannot load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.errors import UserError
from engine.families.base import Conditioning, Geometry
from engine.families.load import load_family
from engine.families.single_file import write_single_file
from engine.models.bases import locate
from engine.planning.check import check
from tests.support.loaded import GEOMETRY, answers, as_file, conditioning
from tests.support.models import write_sd2
from tests.support.runs import quick_plan
from tests.support.schedules import alphas_of
from tests.support.sessions import prepared, run_steps

MODELS = ("sd1", "sd2-eps", "sd2-v", "sdxl")


@pytest.mark.parametrize("name", MODELS)
def test_a_single_file_is_the_same_model_as_its_folder(
    name: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = narrow_models[name]
    file = as_file(folder, tmp_path / "models" / "model.safetensors")
    one, other = load_family(folder), load_family(file)
    assert one.spec is other.spec and one.schedule.prediction == other.schedule.prediction
    assert torch.equal(alphas_of(one), alphas_of(other))
    first, second = answers(one), answers(other)
    assert first.keys() == second.keys()
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert not different
    assert locate(str(file)).family == locate(str(folder)).family


def test_facts_of_each_narrow_model(narrow_models: dict[str, Path]) -> None:
    found = {name: locate(str(folder)) for name, folder in narrow_models.items()}
    assert [found[name].family for name in MODELS] == ["sd1", "sd2", "sd2", "sdxl"]
    assert [found[name].prediction for name in MODELS] == ["epsilon", "epsilon", "v_prediction", "epsilon"]
    assert all(info.tiny and info.native_resolution == 64 for info in found.values())
    assert found["sd2-v"].title == "Stable Diffusion 2.x, v-prediction, tiny"
    assert float(alphas_of(load_family(narrow_models["sd2-v"]))[-1]) == 0.0


def test_the_last_token_pads_clip_and_token_zero_pads_openclip(narrow_models: dict[str, Path]) -> None:
    ids = {name: load_family(narrow_models[name]).tokenize([""]) for name in MODELS}
    end = int(ids["sd1"]["text_encoder"][0, 1])
    assert ids["sd1"]["text_encoder"][0, -1] == end
    assert ids["sd2-eps"]["text_encoder"][0, -1] == 0
    assert ids["sdxl"]["text_encoder"][0, -1] == end
    assert ids["sdxl"]["text_encoder_2"][0, -1] == 0


def test_sdxl_is_told_both_encoders_the_pooled_text_and_six_numbers(narrow_models: dict[str, Path]) -> None:
    family = load_family(narrow_models["sdxl"])
    family.parts["unet"].float()
    with torch.no_grad():
        cond = conditioning(family)
    assert cond.hidden.shape == (2, 77, 32 + 64)
    assert cond.extra["text_embeds"].shape == (2, 64)
    assert cond.extra["time_ids"].tolist() == [[80, 100, 0, 7, 64, 72], [64, 64, 3, 0, 64, 64]]
    with torch.no_grad():
        noisy, times = torch.zeros(2, 4, 8, 8), torch.tensor([10, 999])
        cond = cond.map(lambda value: value.float())
        other = family.with_geometry(cond, [GEOMETRY[1], GEOMETRY[0]])
        assert not torch.equal(
            family.denoise(noisy, times, cond, {}), family.denoise(noisy, times, other, {})
        )


def test_sizes_stay_exact_in_half_precision(narrow_models: dict[str, Path]) -> None:
    family = load_family(narrow_models["sdxl"])
    cond = Conditioning(torch.zeros(1, 77, 96, dtype=torch.bfloat16), {"text_embeds": torch.zeros(1, 64)})
    sizes = [Geometry((4031, 3023), (0, 517), (1024, 1023))]
    assert family.with_geometry(cond, sizes).extra["time_ids"].tolist() == [[4031, 3023, 0, 517, 1024, 1023]]


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("conv_in", "IN00"),
        ("down_blocks.0.resnets.1.conv1", "IN02"),
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", "IN04"),
        ("down_blocks.1.downsamplers.0.conv", "IN06"),
        ("down_blocks.2.attentions.1.proj_in", "IN08"),
        ("mid_block.attentions.0.transformer_blocks.1.attn1.to_q", "MID"),
        ("up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_v", "OUT01"),
        ("up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("up_blocks.2.resnets.2.conv2", "OUT08"),
        ("add_embedding.linear_1", "BASE"),
        ("time_embedding.linear_1", "BASE"),
        ("conv_out", "BASE"),
    ],
)
def test_blocks_of_sdxl_have_their_usual_names(path: str, block: str, narrow_models: dict[str, Path]) -> None:
    family = load_family(narrow_models["sdxl"])
    assert path in dict(family.denoiser.named_modules())
    assert family.block_of(path) == block


def test_attention_widths_are_the_models_own(narrow_models: dict[str, Path]) -> None:
    widths = {
        name: {(layer.cross, layer.width) for layer in load_family(folder).attention_layers()}
        for name, folder in narrow_models.items()
    }
    assert widths["sd2-eps"] == {(True, 64), (False, 16), (False, 32), (False, 64)}
    assert widths["sdxl"] == {(True, 96), (False, 32), (False, 64)}


@pytest.mark.parametrize("name", MODELS)
def test_conditions_change_the_answer_through_controlnet_and_adapter(
    name: str, narrow_models: dict[str, Path]
) -> None:
    family = load_family(narrow_models[name])
    family.parts["unet"].float()
    net, adapter = family.new_controlnet(3), family.new_t2i_adapter("auto", 3)
    draw = torch.Generator().manual_seed(0)
    noisy, times = torch.randn(2, 4, 8, 8, generator=draw), torch.tensor([10, 500])
    control = torch.rand(2, 3, 64, 64, generator=draw)
    with torch.no_grad():
        cond = conditioning(family).map(lambda value: value.float())
        plain = family.denoise(noisy, times, cond, {})
        untrained = family.controlnet_residuals(net, noisy, times, cond, control)
        assert torch.allclose(family.denoise(noisy, times, cond, untrained), plain, atol=1e-6)
        guided = family.denoise(noisy, times, cond, family.t2i_residuals(adapter, control))
    assert guided.shape == plain.shape and not torch.allclose(guided, plain, atol=1e-3)


def test_a_light_adapter_does_not_fit_sdxl(narrow_models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="light_adapter"):
        load_family(narrow_models["sdxl"]).new_t2i_adapter("light_adapter", 3)


def test_the_plan_can_say_what_the_model_predicts(
    narrow_models: dict[str, Path], pictures: Path, home: Path
) -> None:
    plan = quick_plan(narrow_models["sd2-eps"], pictures, base__prediction="v_prediction")
    made = prepared(plan, home / "cache")
    assert made.adapted.family.schedule.prediction == "v_prediction"
    assert made.adapted.family.configs["scheduler"]["prediction_type"] == "v_prediction"


def test_v_pred_and_ztsnr_markers_are_read(narrow_models: dict[str, Path], tmp_path: Path) -> None:
    file = as_file(narrow_models["sdxl"], tmp_path / "models" / "model.safetensors")
    with safe_open(file, "pt") as reader:
        metadata = {k: v for k, v in reader.metadata().items() if k != "modelspec.prediction_type"}
    marked = load_file(file) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(marked, file, metadata=metadata)
    family = load_family(file)
    assert family.schedule.prediction == "v_prediction" and float(alphas_of(family)[-1]) == 0.0
    out = tmp_path / "again.safetensors"
    states = {name: part.state_dict() for name, part in family.parts.items()}
    write_single_file(out, "sdxl", states, {k: dict(v) for k, v in family.configs.items()})
    assert {"v_pred", "ztsnr"} <= load_file(out).keys()


def test_a_folder_with_only_fp16_variants_loads(narrow_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(narrow_models["sdxl"], tmp_path / "model"))
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    one, other = answers(load_family(folder)), answers(load_family(narrow_models["sdxl"]))
    assert all(torch.equal(one[key], other[key]) for key in one)


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("name", ["sd1", "sd2-eps", "sdxl"])
def test_inpainting_models_are_refused_by_name(
    name: str, narrow_models: dict[str, Path], tmp_path: Path, pictures: Path
) -> None:
    folder = Path(shutil.copytree(narrow_models[name], tmp_path / "model"))
    _edit(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(UserError, match="inpainting"):
        load_family(folder)
    found = [problem for problem in check(quick_plan(folder, pictures)) if problem.key == "base.model"]
    assert "inpainting" in found[0].what and found[0].level == "error"
    assert "inpainting" in locate(str(folder)).title


def test_the_refiner_is_refused_by_name(narrow_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(narrow_models["sdxl"], tmp_path / "model"))
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(UserError, match=r"text_encoder/config\.json"):
        load_family(folder)
    _edit(folder / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    with pytest.raises(UserError, match="refiner"):
        load_family(folder)


@pytest.mark.parametrize(("name", "said"), [("sd2-v", "sdxl"), ("sdxl", "sd1"), ("sd1", "sd2")])
def test_a_family_that_is_not_the_models_is_an_error(
    name: str, said: str, narrow_models: dict[str, Path], pictures: Path
) -> None:
    problems = check(quick_plan(narrow_models[name], pictures, base__family=said))
    assert [problem.level for problem in problems if problem.key == "base.family"] == ["error"]
    fine = check(quick_plan(narrow_models[name], pictures, base__family=name.partition("-")[0]))
    assert not [problem for problem in fine if problem.level == "error"]


def test_a_guessed_prediction_is_a_warning_that_the_plan_can_settle(
    narrow_models: dict[str, Path], tmp_path: Path, pictures: Path
) -> None:
    file = as_file(narrow_models["sd2-eps"], tmp_path / "models" / "model.safetensors")
    save_file(load_file(file), file)
    found = [item for item in check(quick_plan(file, pictures)) if item.key == "base.prediction"]
    assert [item.level for item in found] == ["warning"]
    settled = check(quick_plan(file, pictures, base__prediction="epsilon"))
    assert not [item for item in settled if item.key == "base.prediction"]


def test_caches_of_two_models_with_equal_weights_and_other_scales_are_apart(
    tmp_path: Path, pictures: Path
) -> None:
    cache, means = tmp_path / "cache", []
    for scale in (0.18215, 0.13025):
        folder = write_sd2(tmp_path / str(scale))
        _edit(folder / "vae" / "config.json", scaling_factor=scale)
        feed = prepared(quick_plan(folder, pictures), cache).feed
        means.append(next(iter(feed.step(1, 2))).mean)
    assert torch.allclose(means[0] / 0.18215, means[1] / 0.13025, rtol=1e-4)
    assert not torch.allclose(means[0], means[1], rtol=1e-2)


def test_the_vae_computes_in_its_own_format_under_autocast(narrow_models: dict[str, Path]) -> None:
    family = load_family(narrow_models["sdxl"])
    family.parts["vae"].float()
    latents, pixels = torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = family.decode_latents(latents), *family.encode_image(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = family.decode_latents(latents), *family.encode_image(pixels)
    assert all(torch.equal(one, other) for one, other in zip(plain, inside, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sdxl_trains_both_encoders_with_and_without_gradient_checkpointing(
    precision: str, narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    losses = []
    for saving in (False, True):
        plan = quick_plan(
            narrow_models["sdxl"], pictures, lora__text_encoder=True, train__steps=2,
            train__precision=precision, hardware__gradient_checkpointing=saving,
        )  # fmt: skip
        made = prepared(plan, tmp_path / "cache")
        parts = {item.module for item in made.adapted.trainables}
        assert parts == {"unet", "text_encoder", "text_encoder_2"}
        losses.append([report.loss for report in run_steps(made)])
        gradients = [item.parameter.grad for item in made.adapted.trainables if ".lora_B." in item.name]
        # SDXL reads the last but one layer; of the second encoder's last layer the pooled text is made.
        silent = sum(value is None or not value.any() for value in gradients)
        assert silent == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-6 if precision == "fp32" else 1e-2)
