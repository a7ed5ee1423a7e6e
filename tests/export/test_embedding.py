"""Embeddings as files: the keys that programs look for, and diffusers' own loader reading them alike."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from engine.errors import UserError
from engine.export.registry import export
from engine.families.base import Geometry
from engine.train.sampling import PreviewRequest, draw, initial_noise
from tests.export.tiny_models import request
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps


def _trained(base: Path, folder: Path, *words: str) -> Prepared:
    plan = quick_plan(
        base,
        write_pictures(folder / "pictures", count=2),
        method="textual_inversion",
        data__trigger=words[0],
        textual_inversion__tokens=list(words),
        textual_inversion__vectors=2,
        train__steps=2,
    )
    made = prepared(plan, folder / "cache")
    run_steps(made)
    return made


def _write(made: Prepared, form: str, out: Path) -> None:
    family = made.adapted.family
    export(form, request(made.adapted.method.artifact(family), out, family.spec.name))


@pytest.mark.parametrize(("form", "name"), [("embedding", "cat.safetensors"), ("a1111_embedding", "cat.pt")])
@pytest.mark.parametrize("model", ["sd1", "sd2-eps"])
def test_diffusers_loads_the_file_and_reads_prompts_alike(
    form: str, name: str, model: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base = narrow_models[model]
    made = _trained(base, tmp_path, "<cat>")
    _write(made, form, tmp_path / name)
    pipe: Any = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, safety_checker=None)
    pipe.load_textual_inversion(str(tmp_path / name), token="<cat>")
    prompt = "a photo of <cat>, red"
    text = pipe.maybe_convert_prompt(prompt, pipe.tokenizer)
    ids = pipe.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        theirs = pipe.text_encoder(ids)[0]
        ours = made.adapted.family.encode_text(made.adapted.family.tokenize([prompt])).hidden
    assert float((ours - theirs).abs().max()) < 1e-5


def test_sdxl_has_one_tensor_for_each_encoder(narrow_models: dict[str, Path], tmp_path: Path) -> None:
    made = _trained(narrow_models["sdxl"], tmp_path, "<cat>")
    _write(made, "embedding", tmp_path / "cat.safetensors")
    _write(made, "a1111_embedding", tmp_path / "cat.pt")
    trained = {item.name: item.parameter.detach() for item in made.adapted.trainables}
    for found in (
        load_file(tmp_path / "cat.safetensors"),
        torch.load(tmp_path / "cat.pt", weights_only=True),
    ):
        assert found.keys() == {"clip_l", "clip_g"}
        assert torch.equal(found["clip_l"], trained["text_encoder.words"])
        assert torch.equal(found["clip_g"], trained["text_encoder_2.words"])


def test_sdxls_pipeline_loads_both_tensors_and_draws_the_preview(
    narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base, prompt = narrow_models["sdxl"], "a photo of <cat>, red"
    made = _trained(base, tmp_path, "<cat>")
    _write(made, "embedding", tmp_path / "cat.safetensors")
    pipe: Any = StableDiffusionXLPipeline.from_pretrained(base, torch_dtype=torch.float32)
    state = load_file(tmp_path / "cat.safetensors")
    pipe.load_textual_inversion(
        state["clip_l"], token="<cat>", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer
    )
    pipe.load_textual_inversion(
        state["clip_g"], token="<cat>", text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2
    )
    family, sizes = made.adapted.family, [Geometry((64, 64), (0, 0), (64, 64))]
    with torch.no_grad():
        cond = family.with_geometry(family.encode_text(family.tokenize([prompt])), sizes)
        negative = family.with_geometry(family.encode_text(family.tokenize([""])), sizes)
        plain = family.with_geometry(family.encode_text(family.tokenize(["a photo of , red"])), sizes)
    requests = [PreviewRequest(text, negative, 3, 4, 5.0, 64, 64) for text in (cond, plain)]
    ours, other = (draw(family, request, torch.device("cpu")) / 2 + 0.5 for request in requests)
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    theirs = pipe(
        prompt, negative_prompt="", num_inference_steps=4, guidance_scale=5.0, width=64, height=64, output_type="pt",
        latents=initial_noise(family, requests[0]),
    ).images[0]  # fmt: skip
    assert float((ours - theirs).abs().max()) < 1e-5
    assert float((ours - other).abs().max()) > 1e-3, "the word changes the picture"


def test_the_pt_file_is_in_the_layout_that_a1111_takes(small_sd1: Path, tmp_path: Path) -> None:
    made = _trained(small_sd1, tmp_path, "<cat>")
    _write(made, "a1111_embedding", tmp_path / "cat.pt")
    assert not zipfile.is_zipfile(tmp_path / "cat.pt")
    found = torch.load(tmp_path / "cat.pt", weights_only=True)
    assert type(found["string_to_param"]["*"]) is torch.Tensor
    assert found["string_to_token"] == {"*": 265}
    assert found["name"] == "cat"
    assert found["sdtrain"]["sdtrain.trigger_words"] == "<cat>"


def test_each_word_gets_a_file_of_one_key(small_sd1: Path, tmp_path: Path) -> None:
    made = _trained(small_sd1, tmp_path, "<cat>", "<fat dog>")
    _write(made, "embedding", tmp_path / "pets.safetensors")
    (rows,) = [item.parameter.detach() for item in made.adapted.trainables]
    assert torch.equal(load_file(tmp_path / "pets.safetensors")["emb_params"], rows[:2])
    assert torch.equal(load_file(tmp_path / "pets-fat-dog.safetensors")["emb_params"], rows[2:])


def test_values_that_are_not_finite_are_refused(small_sd1: Path, tmp_path: Path) -> None:
    made = _trained(small_sd1, tmp_path, "<cat>")
    made.adapted.trainables[0].parameter.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        _write(made, "embedding", tmp_path / "cat.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))
