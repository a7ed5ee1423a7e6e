"""Which programs open a file and compute with it what was trained, by format, family and kind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.export.base import ModelFacts
from engine.export.registry import FORMATS, export
from engine.methods.artifact import Artifact
from engine.models.published import published
from tests.export.tiny_models import request

ALL = ("ComfyUI", "AUTOMATIC1111", "kohya", "diffusers")
PAIRS = Artifact("lora", {}, {"kind": "lora"})


def _readers(form: str, family: str, kind: str = "lora", prediction: str = "epsilon") -> tuple[str, ...]:
    asked = request(Artifact("lora", {}, {"kind": kind}), Path("cat.safetensors"), family)
    return FORMATS[form].readers(replace(asked, model=ModelFacts(family, prediction)))


@pytest.mark.parametrize(
    ("form", "family", "kind", "readers"),
    [
        ("kohya", "sd1", "lora", ALL),
        ("kohya", "sdxl", "lora", ALL),
        ("kohya", "sd1", "loha", ALL[:2]),
        ("kohya", "sdxl", "lokr", ALL[:2]),
        ("kohya", "sdxl", "oft", ALL[:2]),
        ("diffusers", "sd2", "lora", ("diffusers",)),
        ("controlnet", "sd1", "", ("ComfyUI", "AUTOMATIC1111", "diffusers")),
        ("controlnet", "sd2", "", ("ComfyUI", "diffusers")),
        ("controlnet", "sdxl", "", ("ComfyUI", "AUTOMATIC1111", "diffusers")),
        ("controlnet_ldm", "sd1", "", ALL),
        ("controlnet_ldm", "sd2", "", ("ComfyUI", "diffusers")),
        ("controlnet_ldm", "sdxl", "", ("ComfyUI", "AUTOMATIC1111")),
        ("a1111_embedding", "sdxl", "", ("AUTOMATIC1111", "ComfyUI", "kohya", "diffusers")),
        ("a1111_hypernetwork", "sd2", "", ("AUTOMATIC1111", "ComfyUI")),
        ("t2i_adapter_tencent", "sdxl", "", ("ComfyUI", "AUTOMATIC1111")),
    ],
)
def test_a_format_names_the_programs_that_read_it_right(
    form: str, family: str, kind: str, readers: tuple[str, ...]
) -> None:
    assert _readers(form, family, kind) == readers


def test_a1111_knows_no_marker_of_sdxls_v_prediction() -> None:
    assert _readers("single_file", "sdxl", prediction="v_prediction") == ("ComfyUI", "kohya", "diffusers")
    assert _readers("single_file", "sdxl") == _readers("single_file", "sd2", prediction="v_prediction") == ALL


def test_only_diffusers_reads_a_base_of_other_widths() -> None:
    config = dict(published("sd1", "unet"))
    asked = request(PAIRS, Path("cat.safetensors"))
    for widths, readers in ((config["block_out_channels"], ALL), ([32, 64, 64, 64], ("diffusers",))):
        facts = ModelFacts("sd1", "epsilon", {"unet": {**config, "block_out_channels": widths}})
        assert FORMATS["kohya"].readers(replace(asked, model=facts)) == readers


def test_an_export_says_who_opens_it(tmp_path: Path) -> None:
    path = "unet.mid_block.attentions.0.proj_in"
    tensors = {f"{path}.lora_A.weight": torch.ones(2, 4), f"{path}.lora_B.weight": torch.ones(4, 2)}
    artifact = Artifact("lora", tensors, {"rank": 2, "alpha": 2.0})
    asked = replace(request(artifact, tmp_path / "cat.safetensors"), model=ModelFacts("sd1"))
    assert export("kohya", asked).opens_in == ALL
