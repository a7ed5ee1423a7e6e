"""The kohya file has the names, shapes, strengths and metadata that the four programs look for."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from engine.errors import UserError
from engine.export import kohya
from engine.export.base import SetFacts
from engine.export.lora import pairs_of
from engine.export.registry import export
from engine.methods.artifact import Artifact
from tests.export.tiny_models import ATTENTION, CONVOLUTIONS, TEXT, adapt, artifact_of, make_parts, request

FACTS: dict[str, object] = {"rank": 4, "alpha": 6.0, "rslora": False, "dora": False}


def _pair(path: str, out: int = 8, width: int = 6, rank: int = 4, *kernel: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(len(path))
    ones = (1,) * len(kernel)
    return {
        f"{path}.lora_A.weight": torch.randn(rank, width, *kernel, generator=draw),
        f"{path}.lora_B.weight": torch.randn(out, rank, *ones, generator=draw),
    }


def _write(into: Path, artifact: Artifact, family: str = "sd1", **options: Any) -> Path:
    asked = request(artifact, into / "cat.safetensors", family, **options)
    return export("kohya", asked).path


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


def test_names_and_shapes_are_kohyas(tmp_path: Path) -> None:
    parts = make_parts("sd1")
    adapt(parts["unet"], CONVOLUTIONS, r=4, lora_alpha=6)
    adapt(parts["text_encoder"], TEXT, r=4, lora_alpha=6)
    tensors = safetensors.torch.load_file(_write(tmp_path, artifact_of(parts, **FACTS)))
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
    expected = {
        f"{attention}_attn1_to_q.lora_down.weight": [4, 16],
        f"{attention}_attn2_to_out_0.lora_up.weight": [16, 4],
        f"{attention}_ff_net_0_proj.lora_up.weight": [128, 4],
        f"{attention}_ff_net_2.alpha": [],
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": [4, 16, 1, 1],
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": [16, 4, 1, 1],
        "lora_unet_down_blocks_0_downsamplers_0_conv.lora_down.weight": [4, 16, 3, 3],
        "lora_unet_up_blocks_0_upsamplers_0_conv.lora_up.weight": [48, 4, 1, 1],
        "lora_unet_up_blocks_0_resnets_0_conv_shortcut.lora_down.weight": [4, 96, 1, 1],
        "lora_unet_mid_block_resnets_1_time_emb_proj.lora_down.weight": [4, 64],
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 32],
        "lora_te_text_model_encoder_layers_1_mlp_fc1.lora_up.weight": [64, 4],
    }
    assert {name: list(tensors[name].shape) for name in expected} == expected
    assert all(name.startswith(("lora_unet_", "lora_te_text_model_")) for name in tensors)
    assert not any("lora_te1_" in name or "lora_te_encoder" in name for name in tensors)


def test_a_lora_on_all_of_attention_and_projections_has_192_and_72_modules(tmp_path: Path) -> None:
    parts = make_parts("sd1")
    adapt(parts["unet"], [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"], r=2)
    artifact = artifact_of({"unet": parts["unet"]}, **FACTS)
    assert len(safetensors.torch.load_file(_write(tmp_path, artifact))) == 3 * 192


def test_sdxl_is_named_as_sgm_names_it(tmp_path: Path) -> None:
    parts = make_parts("sdxl")
    adapt(parts["unet"], CONVOLUTIONS, r=4, lora_alpha=6)
    for part in ("text_encoder", "text_encoder_2"):
        adapt(parts[part], TEXT, r=4, lora_alpha=6)
    names = set(safetensors.torch.load_file(_write(tmp_path, artifact_of(parts, **FACTS), "sdxl")))
    for stem in (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_input_blocks_4_0_skip_connection",
        "lora_unet_output_blocks_0_0_emb_layers_1",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te2_text_model_encoder_layers_1_mlp_fc2",
    ):
        assert f"{stem}.lora_down.weight" in names
    assert not any("down_blocks" in name for name in names)


def test_alpha_over_rank_is_the_trained_strength_whatever_the_dtype(tmp_path: Path) -> None:
    path = "unet.mid_block.attentions.0.proj_in"
    for rslora, strength in ((False, 6 / 8), (True, 6 / 8**0.5)):
        artifact = Artifact("lora", _pair(path, rank=8), {**FACTS, "rslora": rslora})
        out = tmp_path / str(rslora)
        tensors = safetensors.torch.load_file(_write(out, artifact, dtype=torch.float16))
        alpha = tensors["lora_unet_mid_block_attentions_0_proj_in.alpha"]
        assert alpha.dtype == torch.float32
        assert float(alpha) / 8 == pytest.approx(strength, rel=1e-6)
        assert tensors["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"].dtype == torch.float16


def test_modules_with_another_alpha_share_one_and_keep_their_strength(tmp_path: Path) -> None:
    names = [f"unet.mid_block.attentions.0.{name}" for name in ("proj_in", "proj_out", "other")]
    tensors = {**_pair(names[0]), **_pair(names[1]), **_pair(names[2])}
    artifact = Artifact("lora", tensors, {**FACTS, "alphas": {names[2]: 1.5}})
    written = safetensors.torch.load_file(_write(tmp_path, artifact))
    assert {float(value) for name, value in written.items() if name.endswith(".alpha")} == {6.0}
    up = written["lora_unet_mid_block_attentions_0_other.lora_up.weight"]
    assert torch.allclose(6.0 * up, 1.5 * tensors[f"{names[2]}.lora_B.weight"])


def test_text_attention_is_whole_or_absent(tmp_path: Path) -> None:
    layer = "text_encoder.text_model.encoder.layers.3"
    tensors = _pair(f"{layer}.self_attn.q_proj", 8, 8) | _pair(f"{layer}.mlp.fc1", 16, 8)
    written = safetensors.torch.load_file(_write(tmp_path, Artifact("lora", tensors, FACTS)))
    stem = "lora_te_text_model_encoder_layers_3_self_attn"
    for name in ("k_proj", "v_proj", "out_proj"):
        assert not written[f"{stem}_{name}.lora_up.weight"].any()
        assert written[f"{stem}_{name}.lora_down.weight"].shape == (4, 8)
    assert written[f"{stem}_q_proj.lora_up.weight"].any()
    assert len(written) == 3 * 5


def test_a_dora_is_refused_with_the_way_out(tmp_path: Path) -> None:
    parts = make_parts("sd1")
    adapt(parts["unet"], ["attn2.to_k"], r=2, use_dora=True)
    with pytest.raises(UserError, match="DoRA") as caught:
        _write(tmp_path, artifact_of(parts, **(FACTS | {"dora": True})))
    assert "diffusers" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_what_a1111_and_kohya_read_is_there_and_every_value_is_text(tmp_path: Path) -> None:
    artifact = Artifact("lora", _pair("unet.mid_block.attentions.0.proj_in"), FACTS)
    notes = _metadata(_write(tmp_path, artifact))
    expected = {
        "format": "pt",
        "ss_v2": "False",
        "ss_base_model_version": "sd_v1",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "6.0",
        "ss_network_args": "{}",
        "ss_output_name": "cat",
        "ss_num_train_images": "12",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "my-cat",
        "modelspec.resolution": "512x512",
        "modelspec.date": "2023-11-14T22:13:20+00:00",
        "modelspec.trigger_phrase": "sks cat",
        "modelspec.prediction_type": "epsilon",
        "sdtrain.plan_hash": "p" * 64,
        "sdtrain.base_hash": "b" * 64,
        "sdtrain.base_model": "builtin:tiny",
        "sdtrain.trigger_words": "sks cat",
        "sdtrain.step": "100",
    }
    assert {key: notes.get(key) for key in expected} == expected
    assert json.loads(notes["ss_tag_frequency"]) == {"my-cat": {"sks cat": 12}}
    assert json.loads(notes["ss_bucket_info"]) == {"buckets": {"0": {"resolution": [512, 512], "count": 12}}}
    for package in ("torch", "diffusers", "peft", "sdtrain-tui"):
        assert notes[f"sdtrain.version.{package}"]


@pytest.mark.parametrize(
    ("family", "prediction", "version", "v2", "architecture"),
    [
        ("sd2", "epsilon", "sd_v2", "True", "stable-diffusion-v2-512/lora"),
        ("sd2", "v_prediction", "sd_v2_v", "True", "stable-diffusion-v2-768-v/lora"),
        ("sdxl", "epsilon", "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora"),
    ],
)
def test_the_base_is_filed_under_its_family(
    family: str, prediction: str, version: str, v2: str, architecture: str, tmp_path: Path
) -> None:
    artifact = Artifact("lora", _pair("unet.mid_block.attentions.0.proj_in", 48, 48), FACTS)
    asked = request(artifact, tmp_path / "cat.safetensors", family)
    asked = replace(asked, model=replace(asked.model, prediction=prediction))
    notes = kohya.compose(asked).metadata
    assert (notes["ss_base_model_version"], notes["ss_v2"]) == (version, v2)
    assert notes["modelspec.architecture"] == architecture


@pytest.mark.parametrize("width", [16, 200_000])
def test_the_hashes_are_those_of_kohyas_own_computation(width: int, tmp_path: Path) -> None:
    artifact = Artifact("lora", _pair("unet.mid_block.attentions.0.proj_in", 8, width), FACTS)
    file = _write(tmp_path, artifact, dtype=torch.float16)
    notes = _metadata(file)
    only = {key: value for key, value in notes.items() if key.startswith("ss_")}
    raw = io.BytesIO(safetensors.torch.save(safetensors.torch.load_file(file), only))
    header = int.from_bytes(raw.read(8), "little")
    raw.seek(8 + header)
    assert notes["sshs_model_hash"] == hashlib.sha256(raw.read()).hexdigest()
    raw.seek(0x100000)
    assert notes["sshs_legacy_hash"] == hashlib.sha256(raw.read(0x10000)).hexdigest()[:8]
    data = file.read_bytes()
    data = data[8 + int.from_bytes(data[:8], "little") :]
    assert notes["sshs_model_hash"] == hashlib.sha256(data).hexdigest()


def test_a_module_that_sgm_does_not_know_is_named(tmp_path: Path) -> None:
    artifact = Artifact("lora", _pair("unet.down_blocks.9.nothing"), FACTS)
    with pytest.raises(UserError, match=r"down_blocks\.9\.nothing"):
        _write(tmp_path, artifact, "sdxl")
    artifact = Artifact("lora", _pair("text_encoder_2.text_model.encoder.layers.0.mlp.fc1"), FACTS)
    with pytest.raises(UserError, match="text_encoder_2"):
        _write(tmp_path, artifact, "sd1")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_never_reach_a_file(value: float, tmp_path: Path) -> None:
    tensors = _pair("unet.mid_block.attentions.0.proj_in")
    tensors["unet.mid_block.attentions.0.proj_in.lora_B.weight"][3, 1] = value
    with pytest.raises(UserError, match="not finite"):
        _write(tmp_path, Artifact("lora", tensors, FACTS))
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="no LoRA"):
        pairs_of(Artifact("lora", {}, FACTS))


def test_a1111s_card_shows_when_on_what_and_at_which_sizes(tmp_path: Path) -> None:
    artifact = Artifact("lora", _pair("unet.mid_block.attentions.0.proj_in"), FACTS)
    about: dict[str, Any] = {
        "started": 1_600_000_000.0,
        "sets": (SetFacts("photos", 3, 12, {"sks cat": 12, "sofa": 5}), SetFacts("more", 1, 2, {"tree": 2})),
        "buckets": {(512, 512): 7, (448, 576): 5},
    }
    notes = _metadata(_write(tmp_path, artifact, **about))
    assert (float(notes["ss_training_started_at"]), float(notes["ss_training_finished_at"])) == (1.6e9, 1.7e9)
    assert json.loads(notes["ss_dataset_dirs"]) == {
        "photos": {"n_repeats": 3, "img_count": 12},
        "more": {"n_repeats": 1, "img_count": 2},
    }
    assert json.loads(notes["ss_tag_frequency"]) == {
        "photos": {"sks cat": 12, "sofa": 5},
        "more": {"tree": 2},
    }
    buckets = json.loads(notes["ss_bucket_info"])["buckets"].values()
    assert {(*bucket["resolution"], bucket["count"]) for bucket in buckets} == {(512, 512, 7), (448, 576, 5)}

    notes = _metadata(_write(tmp_path / "minimal", artifact, **about, captions=False))
    gone = {"ss_dataset_dirs", "ss_tag_frequency", "ss_training_comment", "sdtrain.trigger_words"}
    assert not notes.keys() & {*gone, "modelspec.trigger_phrase"}
    assert not [key for key, text in notes.items() if "sks" in text or "photos" in text]


def test_ranks_a_block_become_one_and_nothing_changes(tmp_path: Path) -> None:
    wide, narrow = (f"unet.mid_block.attentions.0.{name}" for name in ("proj_in", "proj_out"))
    tensors = _pair(wide, 8, 6, 8, 3, 3) | _pair(narrow, 8, 6, 2)
    for rslora in (False, True):
        facts = {**FACTS, "rslora": rslora, "alphas": {narrow: 3.0}}
        for form in ("kohya", "diffusers"):
            out = tmp_path / form / f"{rslora}.safetensors"
            asked = request(Artifact("lora", tensors, facts), out)
            found = safetensors.torch.load_file(export(form, asked).path)
            for path, rank, alpha in ((wide, 8, 6.0), (narrow, 2, 3.0)):
                scale = alpha / (rank**0.5 if rslora else rank)
                wanted = (
                    scale
                    * tensors[f"{path}.lora_B.weight"].flatten(1)
                    @ tensors[f"{path}.lora_A.weight"].flatten(1)
                )
                name = "lora_unet_" + path.removeprefix("unet.").replace(".", "_")
                ends = ("lora_down", "lora_up") if form == "kohya" else ("lora_A", "lora_B")
                stem = name if form == "kohya" else path
                down, up = (found[f"{stem}.{end}.weight"] for end in ends)
                assert down.shape[0] == up.shape[1] == 8
                # diffusers 0.32 takes alpha for the rank of a file that says nothing else.
                strength = float(found[f"{name}.alpha"]) / 8 if form == "kohya" else 1.0
                assert torch.allclose(strength * up.flatten(1) @ down.flatten(1), wanted, atol=1e-5)
    notes = _metadata(tmp_path / "kohya" / "True.safetensors")
    assert (notes["ss_network_dim"], json.loads(notes["ss_network_args"])["conv_dim"]) == ("8", "8")


@pytest.mark.parametrize("mark", ":,<>")
def test_a_name_that_a_prompt_cannot_hold_is_refused(mark: str, tmp_path: Path) -> None:
    artifact = Artifact("lora", _pair("unet.mid_block.attentions.0.proj_in"), FACTS)
    with pytest.raises(UserError, match="in its name"):
        export("kohya", request(artifact, tmp_path / f"a{mark}b.safetensors"))
    assert list(tmp_path.iterdir()) == []
