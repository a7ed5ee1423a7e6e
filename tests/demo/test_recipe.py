"""The tiny model is a real SD 1.x diffusers folder, small enough to ship, and readable by old and new transformers."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel

from engine.demo import recipe
from engine.demo.vae import new_vae, to_pictures, to_tensor, training_batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tiny") / "model"
    start = tmp_path_factory.mktemp("vae")
    new_vae(3).save_pretrained(start)
    recipe.write_random(target, seed=1, vae=start)
    return target


def test_the_whole_folder_is_below_ten_megabytes(folder: Path) -> None:
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 10_000_000


def test_all_weights_are_fp16(folder: Path) -> None:
    files = list(folder.rglob("*.safetensors"))
    assert len(files) == 3
    for path in files:
        with safe_open(path, "pt") as file:
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


def test_the_text_encoder_has_the_old_keys_and_loads_without_a_missing_one(folder: Path) -> None:
    with safe_open(folder / "text_encoder" / "model.safetensors", "pt") as file:
        assert all(key.startswith("text_model.") for key in file.keys())  # noqa: SIM118
    loaded, info = CLIPTextModel.from_pretrained(folder / "text_encoder", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.config.eos_token_id == loaded.config.vocab_size - 1


def test_its_configuration_is_sd1s_apart_from_the_widths(folder: Path) -> None:
    unet = json.loads((folder / "unet" / "config.json").read_text())
    assert unet["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert unet["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert (unet["layers_per_block"], unet["attention_head_dim"], unet["use_linear_projection"]) == (
        2,
        8,
        False,
    )
    assert unet["cross_attention_dim"] == recipe.TEXT_WIDTH
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler").config
    assert (scheduler.beta_schedule, scheduler.beta_start, scheduler.beta_end) == (
        "scaled_linear",
        0.00085,
        0.012,
    )
    assert (scheduler.num_train_timesteps, scheduler.prediction_type) == (1000, "epsilon")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        unet: UNet2DConditionModel = recipe.new_unet()
        return torch.as_tensor(unet.conv_in.weight.detach())

    assert torch.equal(first(5), first(5))
    assert not torch.equal(first(5), first(6))


def test_the_stock_pipeline_draws_a_picture_with_it(folder: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a red circle", num_inference_steps=2, height=64, width=64, output_type="np").images
    assert picture.shape == (1, 64, 64, 3)


def test_a_new_autoencoder_already_carries_coarse_colours() -> None:
    images = training_batch(0, 0, 12)
    vae = new_vae(0)
    with torch.no_grad():
        result = vae.decode(vae.encode(images).latent_dist.mean).sample
    grey = torch.zeros_like(images)
    assert (result - images).abs().mean() < 0.6 * (grey - images).abs().mean()


def test_pictures_survive_the_way_through_tensors() -> None:
    images = training_batch(1, 0, 4)
    assert images.shape == (4, 3, 64, 64)
    assert torch.equal(to_tensor(to_pictures(images)), images)
