"""Formats are found by name and method, refuse what they cannot hold, and never overwrite unasked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from engine.errors import UserError
from engine.export.registry import export, get_format
from engine.methods.artifact import Artifact
from tests.export.tiny_models import request

FACTS: dict[str, object] = {"rank": 2, "alpha": 3.0, "rslora": False, "dora": False}
PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT_PATH = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


def _artifact(*paths: str, rank: int = 2) -> Artifact:
    tensors: dict[str, torch.Tensor] = {}
    for path in paths or (PATH,):
        tensors[f"{path}.lora_A.weight"] = torch.ones(rank, 4)
        tensors[f"{path}.lora_B.weight"] = torch.ones(4, rank)
    return Artifact("lora", tensors, dict(FACTS))


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="kohia") as caught:
        get_format("kohia")
    assert "'kohya'" in caught.value.fix


@pytest.mark.parametrize("name", ["kohya", "diffusers"])
def test_an_export_says_what_it_wrote(name: str, tmp_path: Path) -> None:
    done = export(name, request(_artifact(), tmp_path / "new" / "cat.safetensors"))
    assert done.path.stat().st_size == done.bytes
    assert len(load_file(done.path)) == done.tensors
    assert done.format == name
    assert [path.name for path in done.path.parent.iterdir()] == ["cat.safetensors"]


def test_a_file_that_is_there_stays_unless_asked_otherwise(tmp_path: Path) -> None:
    out = tmp_path / "cat.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match="already there"):
        export("kohya", request(_artifact(), out))
    assert out.read_bytes() == b"mine"
    export("kohya", replace(request(_artifact(), out), overwrite=True))
    assert load_file(out)


@pytest.mark.parametrize("name", ["cat.pt", "cat", ".safetensors"])
def test_the_ending_must_be_the_formats(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        export("kohya", request(_artifact(), tmp_path / name))


def test_another_kind_of_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold a full"):
        export("kohya", request(Artifact("full", {}), tmp_path / "cat.safetensors"))


def test_the_diffusers_file_has_the_strength_in_its_matrices_and_alpha_is_the_rank(tmp_path: Path) -> None:
    done = export("diffusers", request(_artifact(PATH, TEXT_PATH), tmp_path / "cat.safetensors"))
    assert set(load_file(done.path)) == {
        f"{path}.{half}.weight" for path in (PATH, TEXT_PATH) for half in ("lora_A", "lora_B")
    }
    assert torch.equal(load_file(done.path)[f"{PATH}.lora_B.weight"], torch.full((4, 2), 1.5))
    with safe_open(str(done.path), framework="pt") as file:
        settings = json.loads(file.metadata()["lora_adapter_metadata"])
    assert settings["unet.r"] == settings["text_encoder.r"] == 2
    assert settings["unet.lora_alpha"] == settings["text_encoder.lora_alpha"] == 2
    assert settings["unet.use_rslora"] is False
    # Without the level, the paths match text encoders that have it and those that do not.
    assert settings["text_encoder.target_modules"] == ["encoder.layers.0.self_attn.q_proj"]


def test_settings_are_those_that_peft_knows(tmp_path: Path) -> None:
    from peft import LoraConfig

    done = export("diffusers", request(_artifact(), tmp_path / "cat.safetensors"))
    with safe_open(str(done.path), framework="pt") as file:
        settings = json.loads(file.metadata()["lora_adapter_metadata"])
    config = LoraConfig(**{key.removeprefix("unet."): value for key, value in settings.items()})
    assert (config.r, config.lora_alpha) == (2, 2)
