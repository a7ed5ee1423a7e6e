"""What a diffusers folder is, and what it lacks, is told from its configs and headers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.models.detect import detect


@pytest.fixture
def folder(sd1_folder: Path, tmp_path: Path) -> Path:
    """A diffusers folder that a test may change."""
    return Path(shutil.copytree(sd1_folder, tmp_path / "model"))


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_diffusers_folder_is_found(folder: Path) -> None:
    found = detect(folder)
    assert (found.kind, found.family, found.prediction, found.variant) == (
        "diffusers",
        "sd1",
        "epsilon",
        "base",
    )
    assert found.dtype == "fp16"
    assert found.parts == ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def test_a_folders_family_and_prediction_follow_from_its_configs(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert detect(folder).prediction == "v_prediction"
    _edit(folder / "unet" / "config.json", cross_attention_dim=1024)
    assert detect(folder).family == "sd2"
    _edit(folder / "unet" / "config.json", in_channels=9)
    assert detect(folder).variant == "inpainting"
    _edit(folder / "scheduler" / "scheduler_config.json", prediction_type="flow")
    with pytest.raises(UserError, match="flow"):
        detect(folder)


def test_an_sdxl_folder_must_have_both_text_encoders(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", addition_embed_type="text_time", cross_attention_dim=2048)
    with pytest.raises(UserError, match=r"text_encoder_2/config\.json"):
        detect(folder)


def test_every_missing_file_of_a_folder_is_named(folder: Path) -> None:
    for file in (folder / "vae").glob("*.safetensors"):
        file.unlink()
    shutil.rmtree(folder / "tokenizer")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError) as caught:
        detect(folder)
    for name in ("vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt"):
        assert name in caught.value.what
    assert "scheduler/scheduler_config.json" in caught.value.what


def test_shards_and_variants_count_as_weights(folder: Path) -> None:
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    assert detect(folder).dtype == "fp16"
    (unet / "diffusion_pytorch_model.fp16.safetensors").rename(unet / "part-1.safetensors")
    index = unet / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    assert detect(folder).dtype == "fp16"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}))
    with pytest.raises(UserError, match=r"unet/part-2\.safetensors"):
        detect(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(UserError, match="outside"):
        detect(folder)


def test_a_cut_or_false_weights_file_in_a_folder_is_found(folder: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:-100])
    with pytest.raises(UserError, match="cut short"):
        detect(folder)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="LFS"):
        detect(folder)


@pytest.mark.parametrize(
    ("text", "word"), [("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 100_000, "not JSON")]
)
def test_a_broken_config_is_named(folder: Path, text: str, word: str) -> None:
    (folder / "unet" / "config.json").write_text(text)
    with pytest.raises(UserError, match=word):
        detect(folder)


def test_folders_that_are_something_else_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one part of a diffusers folder"):
        detect(folder / "unet")
    with pytest.raises(UserError, match="not a diffusers folder"):
        detect(tmp_path)
    _edit(folder / "model_index.json", _class_name="FluxPipeline")
    with pytest.raises(UserError, match="FLUX"):
        detect(folder)
    _edit(folder / "model_index.json", _class_name="StableDiffusion3Pipeline")
    with pytest.raises(UserError, match="Stable Diffusion 3"):
        detect(folder)
    (tmp_path / "dit" / "transformer").mkdir(parents=True)
    with pytest.raises(UserError, match="transformer"):
        detect(tmp_path / "dit")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="LoRA"):
        detect(tmp_path / "lora")
