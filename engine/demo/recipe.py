"""The built-in tiny model: SD 1.x's real layout at 4.6 M parameters, and how to write it as a diffusers folder."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from engine.demo.tokenizer import MAX_LENGTH, vocabulary, write_tokenizer

TEXT_WIDTH = 96
UNET_WIDTHS = (48, 64, 64, 48)
TRAINED = Path(__file__).resolve().parents[1] / "assets" / "tiny"
"""Where the trained model lies in an installed project; `write_random` takes its autoencoder from here."""


def new_unet() -> UNet2DConditionModel:
    """A fresh UNet in SD 1.5's layout (3.4 M parameters): latents B x 4 x 8 x 8, 8 heads, conv projections."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=UNET_WIDTHS,
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
        use_linear_projection=False,
    )


def text_config() -> CLIPTextConfig:
    """The text encoder's configuration: three layers of width 96, SD 1.x's activation and 77 positions."""
    vocab, _ = vocabulary()
    return CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=TEXT_WIDTH,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        hidden_act="quick_gelu",
        projection_dim=TEXT_WIDTH,
        bos_token_id=len(vocab) - 2,
        eos_token_id=len(vocab) - 1,
        pad_token_id=len(vocab) - 1,
    )


def new_text_encoder() -> CLIPTextModel:
    """A fresh text encoder, 0.4 M parameters."""
    return CLIPTextModel(text_config())


def new_scheduler() -> DDIMScheduler:
    """SD 1.5's noise schedule: scaled linear 0.00085 to 0.012 in 1000 steps, epsilon."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def old_text_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text encoder keys with the `text_model.` prefix, which transformers 4 needs and transformers 5 also reads."""
    return {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in state.items()}


def _half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous fp16 copies; position ids and the like are left out, being no weights."""
    return {k: v.detach().half().contiguous() for k, v in state.items() if v.is_floating_point()}


def _write_part(folder: Path, module: nn.Module, weights: str, text: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = old_text_keys(module.state_dict()) if text else module.state_dict()
    save_file(_half(state), folder / weights, metadata={"format": "pt"})


def write_folder(folder: Path, unet: UNet2DConditionModel, vae: AutoencoderKL, text: CLIPTextModel) -> None:
    """Write a whole diffusers folder in fp16: what SD 1.x looks like, without a safety checker."""
    for name, part in (("unet", unet), ("vae", vae)):
        _write_part(folder / name, part, "diffusion_pytorch_model.safetensors")
        part.save_config(folder / name)
    _write_part(folder / "text_encoder", text, "model.safetensors", text=True)
    _write_json(folder / "text_encoder" / "config.json", _text_json(text.config))
    write_tokenizer(folder / "tokenizer")
    new_scheduler().save_pretrained(folder / "scheduler")
    _write_json(folder / "model_index.json", MODEL_INDEX)


_TEXT_NAMES = """
vocab_size hidden_size intermediate_size projection_dim num_hidden_layers num_attention_heads max_position_embeddings
hidden_act layer_norm_eps attention_dropout initializer_range initializer_factor
pad_token_id bos_token_id eos_token_id model_type
"""


def _text_json(config: CLIPTextConfig) -> dict[str, object]:
    """What transformers 4 and 5 both read. fp32 is named because transformers 5 takes the dtype from here, and a
    pipeline loaded without a dtype would else mix an fp16 text encoder with an fp32 UNet."""
    own = {name: getattr(config, name) for name in _TEXT_NAMES.split()}
    return {"architectures": ["CLIPTextModel"], "torch_dtype": "float32", **own}


MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.32.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_random(folder: Path, seed: int = 0, vae: Path = TRAINED / "vae") -> None:
    """Write an untrained model: fresh UNet and text encoder from the seed, and the trained autoencoder of `vae`."""
    torch.manual_seed(seed)
    unet, text = new_unet(), new_text_encoder()
    write_folder(folder, unet, AutoencoderKL.from_pretrained(vae), text)
