"""Whole models as files: what trained and what did not, read back by other programs and by the engine itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from engine.errors import UserError
from engine.export.base import Exported
from engine.export.tokenizer_files import write_tokenizer
from engine.export.whole_model import compare
from engine.families.load import load_family
from engine.families.tokenizers import load_tokenizer
from engine.models.keymap_text import with_level
from engine.train.exporting import export_all
from tests.support.models import write_sd1, write_sd2, write_sdxl
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.schedules import alphas_of
from tests.support.sessions import Prepared, prepared, run_steps

ZERO_SNR: dict[str, Any] = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
BASES: dict[str, Any] = {
    "sd1": write_sd1,
    "sd2": lambda folder: write_sd2(folder),
    "sdxl": write_sdxl,
    "sdxl-v": lambda folder: write_sdxl(folder, prediction_type="v_prediction", **ZERO_SNR),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: write(root / name) for name, write in BASES.items()}


def _trained(base: Path, folder: Path, **changes: object) -> Prepared:
    pictures = write_pictures(folder / "pictures", count=2)
    asked = {"method": "full", "train__steps": 1, "data__trigger": "zil style", **changes}
    made = prepared(quick_plan(base, pictures, **asked), folder / "cache")
    run_steps(made)
    return made


def _exported(made: Prepared, folder: Path) -> dict[str, Exported]:
    folder.mkdir(parents=True, exist_ok=True)
    return {done.format: done for done in export_all(made.plan, made.adapted, folder, 1, made.report.items)}


def _live(made: Prepared, dtype: torch.dtype) -> dict[str, dict[str, torch.Tensor]]:
    found = {}
    for part, module in made.adapted.family.parts.items():
        state = {name: value for name, value in module.state_dict().items() if "position_ids" not in name}
        state = with_level(state) if part.startswith("text_encoder") else state
        found[part] = {name: value.to(dtype) for name, value in state.items()}
    return found


@pytest.mark.parametrize("name", BASES)
def test_both_files_of_every_family_hold_the_trained_model(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases[name], tmp_path, full__text_encoder=True, full__freeze=["MID"])
    for done in _exported(made, tmp_path / "out").values():
        family = load_family(done.path, tokenizer=str(bases[name] / "tokenizer"))
        assert family.spec.name == made.adapted.family.spec.name
        assert family.schedule.prediction == made.adapted.family.schedule.prediction
        assert torch.equal(alphas_of(family), alphas_of(made.adapted.family))
        found = {part: module.state_dict() for part, module in family.parts.items()}
        assert compare(_live(made, torch.float16), found, torch.float16, done.path) == done.tensors


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_diffusers_opens_the_folder_and_draws_with_the_trained_weights(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases[name], tmp_path, output__formats=["diffusers_folder"], output__dtype="fp32")
    path = _exported(made, tmp_path / "out")["diffusers_folder"].path
    pipeline = DiffusionPipeline.from_pretrained(path, local_files_only=True)
    live = made.adapted.family.denoiser.state_dict()
    assert all(torch.equal(value, live[key]) for key, value in pipeline.unet.state_dict().items())
    # The VAE halves the side three times, the UNet up to three times more: 64 px is the smallest picture.
    picture = pipeline("zil style", num_inference_steps=1, height=64, width=64, output_type="np").images[0]
    assert picture.shape == (64, 64, 3)
    text = sorted((path / "text_encoder").glob("*.safetensors"))
    keys = load_file(text[0])
    assert keys and all(key.startswith("text_model.") for key in keys), "transformers 4 asks for this level"


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_a_single_file_has_one_dtype_and_says_where_it_comes_from(
    dtype: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases["sd1"], tmp_path, output__dtype=dtype, output__formats=["single_file"])
    done = _exported(made, tmp_path / "out")["single_file"]
    wanted = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    with safe_open(str(done.path), framework="pt") as reader:
        notes = reader.metadata()
        keys = list(reader.keys())
        assert {reader.get_tensor(key).dtype for key in keys} == {wanted}
    assert notes["modelspec.architecture"] == "stable-diffusion-v1"
    assert notes["modelspec.trigger_phrase"] == "zil style"
    assert notes["sdtrain.plan_hash"] and notes["sdtrain.base_hash"] and notes["sdtrain.version.torch"]
    assert "cond_stage_model.transformer.text_model.final_layer_norm.weight" in keys
    assert "model.diffusion_model.input_blocks.0.0.weight" in keys


def test_sdxl_v_prediction_carries_its_marks(bases: dict[str, Path], tmp_path: Path) -> None:
    made = _trained(bases["sdxl-v"], tmp_path, output__formats=["single_file"])
    done = _exported(made, tmp_path / "out")["single_file"]
    with safe_open(str(done.path), framework="pt") as reader:
        assert {"v_pred", "ztsnr"} <= set(reader.keys())
        assert reader.metadata()["modelspec.prediction_type"] == "v"


def test_parts_that_did_not_train_are_the_bases_own_bits(bases: dict[str, Path], tmp_path: Path) -> None:
    # bf16 training rounds the frozen parts in memory; the file must not have been through that.
    made = _trained(bases["sd1"], tmp_path, train__precision="bf16", output__formats=["diffusers_folder"])
    path = _exported(made, tmp_path / "out")["diffusers_folder"].path
    for part in ("vae", "text_encoder"):
        ours, theirs = (load_file(next((root / part).glob("*.safetensors"))) for root in (path, bases["sd1"]))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_average_is_exported_where_there_is_one(bases: dict[str, Path], tmp_path: Path) -> None:
    made = _trained(bases["sd1"], tmp_path, train__ema=0.99, output__dtype="fp32")
    assert made.loop.ema is not None
    with made.loop.averaged():
        done = _exported(made, tmp_path / "out")["diffusers_folder"]
    stored = load_file(done.path / "unet" / "diffusion_pytorch_model.safetensors")
    average, raw = made.loop.ema.state(), made.adapted.family.denoiser.state_dict()
    assert all(torch.equal(value, average[f"unet.{key}"]) for key, value in stored.items())
    assert not all(torch.equal(value, raw[key]) for key, value in stored.items())


def test_a_folder_has_a_card_and_replaces_its_older_self_whole(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases["sd1"], tmp_path, output__formats=["diffusers_folder"])
    first = _exported(made, tmp_path / "out")["diffusers_folder"].path
    (first / "old.txt").write_text("from before")
    run_steps(made)
    again = _exported(made, tmp_path / "out")["diffusers_folder"].path
    assert again == first and not (again / "old.txt").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [again.name], "nothing is left beside it"
    card = (again / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers") and "`zil style`" in card
    index = json.loads((again / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"


def test_values_that_are_too_large_for_the_dtype_are_refused_and_leave_nothing(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases["sd1"], tmp_path)
    with torch.no_grad():
        next(made.adapted.family.denoiser.parameters()).mul_(1e9)
    (tmp_path / "out").mkdir()
    for name in ("single_file", "diffusers_folder"):
        plan = made.plan.model_copy(
            update={"output": made.plan.output.model_copy(update={"formats": [name]})}
        )
        with pytest.raises(UserError, match="not finite"):
            export_all(plan, made.adapted, tmp_path / "out", 1, made.report.items)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tokenizer_of_one_file_is_taken_apart(bases: dict[str, Path], tmp_path: Path) -> None:
    source = bases["sd1"] / "tokenizer"
    whole, alone = load_tokenizer(source), tmp_path / "alone"
    whole.save_pretrained(tmp_path / "saved")
    alone.mkdir()
    (alone / "tokenizer.json").write_bytes((tmp_path / "saved" / "tokenizer.json").read_bytes())
    write_tokenizer(alone, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.json").unlink()
    text = "a red star on a blue background"
    assert load_tokenizer(tmp_path / "copy")(text).input_ids == whole(text).input_ids


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000, "\ud800"])
def test_a_tokenizers_broken_settings_are_named(
    name: str, text: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bases["sd1"] / "tokenizer", broken)
    (broken / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=name) as caught:
        write_tokenizer(broken, tmp_path / "copy", "<|endoftext|>")
    assert caught.value.why and caught.value.fix


def test_a_folder_made_from_a_single_file_pads_as_the_training_did(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    made = _trained(bases["sdxl"], tmp_path, output__formats=["single_file"])
    file = _exported(made, tmp_path / "out")["single_file"].path
    pictures = tmp_path / "pictures"
    (tmp_path / "out" / "tokenizer").mkdir()
    write_tokenizer(bases["sdxl"] / "tokenizer", tmp_path / "out" / "tokenizer")
    plan = quick_plan(file, pictures, method="full", output__formats=["diffusers_folder"])
    again = prepared(plan, tmp_path / "cache")
    ids = again.adapted.family.tokenize(["zil"])
    folder = _exported(again, tmp_path / "out")["diffusers_folder"].path
    reloaded = load_family(folder).tokenize(["zil"])
    assert ids["text_encoder_2"][0, -1] == 0, "OpenCLIP pads with token 0"
    assert all(torch.equal(ids[part], reloaded[part]) for part in ids)
