"""What a base model is, and what it is instead of one, is told from names and shapes alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import UserError
from engine.models.detect import detect
from engine.models.detected import Detected

UNET = "model.diffusion_model."
MARK = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
TEXT = {
    "sd1": ("cond_stage_model.transformer.text_model.final_layer_norm.bias",),
    "sd2": ("cond_stage_model.model.transformer.resblocks.0.ln_1.bias",),
    "sdxl": (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
        "conditioner.embedders.1.model.ln_final.bias",
    ),
}


def _names(family: str, channels: int = 4, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """The few tensors that tell a family."""
    tensors = {
        f"{UNET}input_blocks.0.0.weight": torch.zeros(8, channels, 3, 3, dtype=dtype),
        MARK: torch.zeros(8, dtype=dtype),
        "first_stage_model.decoder.conv_in.bias": torch.zeros(4),
    }
    return tensors | {name: torch.zeros(4) for name in TEXT[family]}


def _save(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    save_file(tensors, path, metadata=metadata or None)
    return path


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_family_of_a_single_file_is_found(family: str, tmp_path: Path) -> None:
    found = detect(_save(tmp_path / "m.safetensors", _names(family)))
    assert (found.kind, found.family, found.variant, found.dtype) == ("single_file", family, "base", "fp16")
    assert found.prediction == "epsilon"
    assert set(found.parts) >= {"unet", "vae", "text_encoder"}
    assert found.reasons


def test_an_inpainting_model_is_told(tmp_path: Path) -> None:
    found = detect(_save(tmp_path / "m.safetensors", _names("sd1", channels=9)))
    assert found.variant == "inpainting"


def test_v_prediction_is_told_by_metadata_marker_and_yaml(tmp_path: Path) -> None:
    assert detect(
        _save(tmp_path / "a.safetensors", _names("sd2"), **{"modelspec.prediction_type": "v"})
    ).prediction == ("v_prediction")
    marked = _names("sdxl") | {"v_pred": torch.zeros(0)}
    assert detect(_save(tmp_path / "b.safetensors", marked)).prediction == "v_prediction"
    (tmp_path / "c.yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert detect(_save(tmp_path / "c.safetensors", _names("sd2"))).prediction == "v_prediction"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spread", [0.02, 0.5])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_an_sd2_that_does_not_say_is_guessed_from_one_bias_and_says_so(
    ending: str, spread: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = _names("sd2") | {MARK: torch.tensor([spread, -spread] * 16, dtype=dtype)}
    file = tmp_path / f"m.{ending}"
    if ending == "ckpt":
        torch.save({"state_dict": tensors}, file)
    else:
        save_file(tensors, file)
    found = detect(file)
    assert found.prediction == ("v_prediction" if spread > 0.09 else "epsilon")
    assert any("guessed" in reason for reason in found.reasons)


def _shape(*sizes: int) -> torch.Tensor:
    return torch.zeros(sizes)


FOREIGN: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "kohya LoRA": ({"lora_unet_x_to_q.lora_down.weight": _shape(4, 8)}, "LoRA"),
    "peft LoRA": ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight": _shape(4, 8)}, "LoRA"),
    "old diffusers LoRA": ({"unet.down_blocks.0.to_q.lora.down.weight": _shape(4, 8)}, "LoRA"),
    "LoRA of text encoders": (
        {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": _shape(4, 8)},
        "LoRA",
    ),
    "LoHa": ({"lora_unet_x.hada_w1_a": _shape(4, 8)}, "LoRA"),
    "embedding": ({"emb_params": _shape(2, 768)}, "embedding"),
    "SDXL embedding": ({"clip_l": _shape(2, 768), "clip_g": _shape(2, 1280)}, "embedding"),
    "diffusers embedding": ({"<cat>": _shape(2, 768)}, "embedding"),
    "plain embedding": ({"cat": _shape(1, 1024)}, "embedding"),
    "VAE": ({"encoder.conv_in.weight": _shape(8, 3, 3, 3), "decoder.conv_in.bias": _shape(8)}, "VAE"),
    "LDM VAE": ({"first_stage_model.decoder.up.0.block.0.conv1.bias": _shape(8)}, "VAE"),
    "LDM ControlNet": ({"control_model.zero_convs.0.0.weight": _shape(8, 8, 1, 1)}, "ControlNet"),
    "bare ControlNet": (
        {"zero_convs.0.0.weight": _shape(8, 8, 1, 1), "input_blocks.0.0.bias": _shape(8)},
        "ControlNet",
    ),
    "diffusers ControlNet": (
        {
            "down_blocks.0.resnets.0.conv1.bias": _shape(4),
            "controlnet_cond_embedding.conv_in.bias": _shape(4),
        },
        "ControlNet",
    ),
    "T2I-Adapter": ({"body.0.block1.weight": _shape(8, 8, 3, 3), "conv_in.bias": _shape(8)}, "T2I-Adapter"),
    "diffusers T2I-Adapter": ({"adapter.body.0.resnets.0.block1.bias": _shape(8)}, "T2I-Adapter"),
    "IP-Adapter": ({"ip_adapter.1.to_k_ip.weight": _shape(8, 8)}, "IP-Adapter"),
    "motion module": ({"down_blocks.0.motion_modules.0.norm.bias": _shape(8)}, "AnimateDiff"),
    "SD3": ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": _shape(8, 8)}, "Stable Diffusion 3"),
    "FLUX": ({"double_blocks.0.img_attn.norm.key_norm.scale": _shape(8)}, "FLUX"),
    "FLUX checkpoint": ({f"{UNET}double_blocks.0.img_attn.qkv.bias": _shape(8)}, "FLUX"),
    "diffusers FLUX": ({"transformer_blocks.0.attn.to_q.weight": _shape(8, 8)}, "transformer"),
    "AuraFlow": ({"double_layers.0.attn.w2q.weight": _shape(8, 8)}, "AuraFlow"),
    "Stable Cascade": ({"clip_txt_mapper.weight": _shape(8, 8)}, "Stable Cascade"),
    "Wan": ({f"{UNET}blocks.0.self_attn.q.weight": _shape(8, 8)}, "transformer"),
    "Lumina": ({"cap_embedder.0.weight": _shape(8)}, "transformer"),
    "Playground": (_names("sdxl") | {"edm_mean": _shape(1)}, "Playground"),
    "quantised": (_names("sd1") | {f"{UNET}x.weight.absmax": _shape(1)}, "quantised"),
    "refiner": (
        {
            f"{UNET}input_blocks.0.0.weight": _shape(8, 4, 3, 3),
            "conditioner.embedders.0.model.ln_final.bias": _shape(4),
        },
        "refiner",
    ),
    "InstructPix2Pix": (_names("sd1", channels=8), "InstructPix2Pix"),
    "upscaler": (_names("sd2", channels=7), "upscaler"),
    "depth model": (_names("sd2", channels=5), "depth"),
    "diffusers UNet": (
        {"down_blocks.0.resnets.0.conv1.bias": _shape(4), "time_embedding.linear_1.bias": _shape(4)},
        "UNet of a diffusers folder",
    ),
    "text encoder": ({"text_model.encoder.layers.0.mlp.fc1.bias": _shape(4)}, "text encoder"),
    "UNet without text encoder": ({f"{UNET}input_blocks.0.0.weight": _shape(8, 4, 3, 3)}, "no text encoder"),
    "checkpoint without one of two text encoders": (
        {
            name: value
            for name, value in _names("sdxl").items()
            if not name.startswith("conditioner.embedders.1")
        },
        "text_encoder_2 (conditioner.embedders.1.*) is missing",
    ),
    "averaged weights alone": (
        {
            "model_ema.diffusion_modelinput_blocks00weight": _shape(8, 4, 3, 3),
            "model_ema.decay": _shape(1),
            "first_stage_model.decoder.conv_in.bias": _shape(4),
            TEXT["sd1"][0]: _shape(4),
        },
        "averaged (EMA) weights of its UNet only",
    ),
    "VAE and text encoder": (
        {"first_stage_model.decoder.conv_in.bias": _shape(4), TEXT["sd1"][0]: _shape(4)},
        "has no UNet",
    ),
    "LDM UNet alone": ({"input_blocks.0.0.weight": _shape(8, 4, 3, 3)}, "a UNet alone"),
    "ComfyUI's UNet alone": (
        {"diffusion_model.input_blocks.0.0.weight": _shape(8, 4, 3, 3)},
        "no text encoder",
    ),
    "CosXL": (_names("sdxl") | {"edm_vpred.sigma_max": _shape(1)}, "CosXL"),
    "unCLIP": (_names("sd2") | {"embedder.model.visual.proj": _shape(8, 8)}, "unCLIP"),
    "SDXL's UNet with SD 1.x's text encoder": (
        _names("sd1") | {f"{UNET}label_emb.0.0.weight": _shape(8, 8)},
        "another family's text encoder",
    ),
    "something else": ({"weight": _shape(3)}, "no model that sdtrain knows"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_base_model_is_refused_by_name(name: str, tmp_path: Path) -> None:
    tensors, word = FOREIGN[name]
    with pytest.raises(UserError) as caught:
        detect(_save(tmp_path / "thing.safetensors", tensors))
    assert word in caught.value.what
    assert "thing.safetensors" in caught.value.what


def test_a_hypernetwork_and_an_old_embedding_are_told(tmp_path: Path) -> None:
    torch.save(
        {768: ({"linear.0.weight": torch.zeros(2, 2)}, {"linear.0.bias": torch.zeros(2)})}, tmp_path / "h.pt"
    )
    with pytest.raises(UserError, match="hypernetwork"):
        detect(tmp_path / "h.pt")
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}, "name": "cat"}, tmp_path / "e.pt")
    with pytest.raises(UserError, match="embedding"):
        detect(tmp_path / "e.pt")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        detect(tmp_path / "nothing")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tensors"):
        detect(_save(tmp_path / "m.safetensors", {}))


def test_detection_needs_no_torch(sd1_folder: Path, tmp_path: Path) -> None:
    file = _save(tmp_path / "m.safetensors", _names("sd2"))
    code = (
        "import sys; from engine.models.detect import detect;"
        "print(*[detect(path).family for path in sys.argv[1:]], 'torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), str(sd1_folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.split() == ["sd2", "sd1", "False"]


def _says(
    tmp_path: Path, family: str, yaml: str = "", markers: tuple[str, ...] = (), **metadata: str
) -> Detected:
    file = tmp_path / "m.safetensors"
    (tmp_path / "m.yaml").unlink(missing_ok=True)
    if yaml:
        (tmp_path / "m.yaml").write_text(yaml)
    extra = {marker: torch.zeros(0) for marker in markers}
    return detect(_save(file, _names(family) | extra, **metadata))


SPELLED = {
    "v_prediction": ("v", "V", "v-prediction", "v_pred", "vprediction", "velocity", "V Prediction"),
    "epsilon": ("eps", "epsilon", "EPSILON", "noise", "eps-prediction"),
}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize(("means", "said"), [(key, said) for key, all_ in SPELLED.items() for said in all_])
def test_a_prediction_type_is_understood_in_any_usual_spelling(
    family: str, means: str, said: str, tmp_path: Path
) -> None:
    for found in (
        _says(tmp_path, family, **dict[str, Any]({"modelspec.prediction_type": said})),
        _says(tmp_path, family, yaml=f"model:\n  params:\n    parameterization: '{said}'\n"),
    ):
        assert found.prediction == means and not found.doubt


@pytest.mark.parametrize(
    ("yaml", "means"),
    [
        ('model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("model: {params: {parameterization: v, linear_start: 0.00085}}\n", "v_prediction"),
        ('{"model": {"params": {"parameterization": "v"}}}', "v_prediction"),
        ("model:\n  params:\n    parameterization: v  # eps\n", "v_prediction"),
        ('model:\n  # parameterization: "v"\n  params: {}\n', "epsilon"),
        ("model:\n  params: {}\n", "epsilon"),
        ("model:\n  params:\n    parameterization: eps # v\n", "epsilon"),
    ],
)
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_yaml_beside_the_file_is_read_for_every_family(
    family: str, yaml: str, means: str, tmp_path: Path
) -> None:
    found = _says(tmp_path, family, yaml)
    assert found.prediction == means and not found.doubt


@pytest.mark.parametrize(
    ("family", "sources", "words"),
    [
        ("sdxl", {"markers": ("v_pred",), "modelspec.prediction_type": "epsilon"}, ("v_pred", "epsilon")),
        ("sd1", {"yaml": "parameterization: v", "modelspec.prediction_type": "eps"}, ("m.yaml", "eps")),
        ("sdxl", {"markers": ("v_pred",), "yaml": "parameterization: eps"}, ("v_pred", "m.yaml")),
        ("sdxl", {"markers": ("ztsnr",), "modelspec.prediction_type": "epsilon"}, ("ztsnr", "epsilon")),
        ("sdxl", {"markers": ("ztsnr",)}, ("ztsnr",)),
        ("sd1", {"modelspec.prediction_type": "sideways"}, ("sideways",)),
        ("sd2", {"modelspec.prediction_type": "x0"}, ("x0",)),
        ("sd2", {"yaml": "parameterization: x0", "modelspec.prediction_type": "v"}, ("x0",)),
    ],
)
def test_what_does_not_agree_or_is_not_known_is_a_doubt_with_every_source(
    family: str, sources: Any, words: tuple[str, ...], tmp_path: Path
) -> None:
    doubt = _says(tmp_path, family, **sources).doubt
    assert all(word in doubt for word in words)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_sources_that_agree_leave_no_doubt(family: str, tmp_path: Path) -> None:
    both: dict[str, Any] = {"yaml": "parameterization: v", "modelspec.prediction_type": "v-prediction"}
    found = _says(tmp_path, family, markers=("v_pred", "ztsnr"), **both)
    assert found.prediction == "v_prediction" and not found.doubt


def test_a_file_without_a_vae_says_so_and_is_read(tmp_path: Path) -> None:
    names = {name: value for name, value in _names("sd1").items() if not name.startswith("first_stage")}
    assert detect(_save(tmp_path / "m.safetensors", names)).parts == ("unet", "text_encoder")


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace(UNET, f"{UNET}_orig_mod."),
        lambda name: name.replace(UNET, "diffusion_model."),
        lambda name: name.replace(UNET, ""),
    ],
)
def test_names_are_read_through_wrappers_and_without_their_first_level(
    family: str, change: Any, tmp_path: Path
) -> None:
    names = {change(name): value for name, value in _names(family).items()}
    for file in (tmp_path / "m.safetensors", tmp_path / "m.ckpt"):
        if file.suffix == ".ckpt":
            torch.save({"state_dict": names}, file)
        else:
            save_file(names, file)
        found = detect(file)
        assert found.family == family and "unet" in found.parts and "vae" in found.parts


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    names = _names("sd1")
    names |= {f"module.{name}": value.clone() for name, value in names.items()}
    with pytest.raises(UserError, match="twice"):
        detect(_save(tmp_path / "m.safetensors", names))


WIDE = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
PROJECTED = f"{UNET}input_blocks.1.1.proj_in.weight"


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        ({WIDE: _shape(8, 1024), PROJECTED: _shape(8, 8)}, "sd2"),
        ({WIDE: _shape(8, 1024), PROJECTED: _shape(8, 8, 1, 1)}, "sd2"),
        ({WIDE: _shape(8, 64), PROJECTED: _shape(8, 8)}, "sd2"),
        ({WIDE: _shape(8, 768), PROJECTED: _shape(8, 8, 1, 1)}, "sd1"),
        ({WIDE: _shape(8, 64), PROJECTED: _shape(8, 8, 1, 1)}, "sd1"),
    ],
)
@pytest.mark.parametrize("text", ["sd1", "sd2"])
def test_the_unets_shapes_decide_the_family_against_the_text_encoders_names(
    text: str, shapes: dict[str, torch.Tensor], family: str, tmp_path: Path
) -> None:
    assert detect(_save(tmp_path / "m.safetensors", _names(text) | shapes)).family == family
