"""Pivotal tuning: a word and a LoRA learn together, and each goes into its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from engine.cost.machine import Machine
from engine.export.base import Exported
from engine.models.specs import FAMILIES
from engine.plan.methods.context import BaseShape
from engine.planning.check import check
from engine.train import checkpoint
from engine.train.exporting import export_all
from tests.support.plans import make_plan
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

WORD, RATE = "<zqx>", 1e-3
ROWS = "text_encoder.words"


def _made(base: Path, pictures: Path, tmp_path: Path, **changes: Any) -> Prepared:
    asked = {"data__trigger": WORD, "lora__word_vectors": 2, "train__steps": 3} | changes
    return prepared(quick_plan(base, pictures, **asked), tmp_path / "cache")


def _frozen(made: Prepared) -> dict[str, torch.Tensor]:
    training = {id(item.parameter) for item in made.adapted.trainables}
    return {
        f"{part}.{name}": value.detach().clone()
        for part, module in made.adapted.family.parts.items()
        for name, value in module.named_parameters()
        if id(value) not in training
    }


def test_word_and_pairs_move_and_nothing_else(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plain = _made(small_sd1, pictures, tmp_path, lora__word_vectors=0)
    made = _made(small_sd1, pictures, tmp_path)
    start, frozen = weights(made), _frozen(made)
    assert start.keys() - weights(plain).keys() == {ROWS}
    assert all(torch.equal(value, start[name]) for name, value in weights(plain).items())
    encoder: Any = made.adapted.family.parts["text_encoder"]
    norm = float(encoder.get_input_embeddings().weight.norm(dim=-1).median())
    reports = run_steps(made)
    moved = weights(made)
    assert all(not torch.equal(value, start[name]) for name, value in moved.items())
    assert moved[ROWS].norm(dim=-1).tolist() == pytest.approx([norm, norm], rel=1e-4)
    assert all(torch.equal(value, frozen[name]) for name, value in _frozen(made).items())
    assert {report.lr for report in reports} == {RATE}, "events have the plan's rate"


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 5 * RATE),
        ({"lora__word_rate": 2e-4}, 2e-4),
        ({"optimizer__name": "prodigy", "train__learning_rate": 1.0}, 1.0),
    ],
)
def test_the_word_has_a_rate_of_its_own(
    changes: dict[str, Any], rate: float, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("prodigyopt")
    made = _made(small_sd1, pictures, tmp_path, **changes)
    rates = {item.name: item.learning_rate for item in made.adapted.trainables}
    assert rates.pop(ROWS) == rate
    assert set(rates.values()) == {None}


@pytest.mark.parametrize("initial", ["", "red circle"])
def test_the_word_starts_from_what_is_named(
    initial: str, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _made(small_sd1, pictures, tmp_path, lora__word_initial=initial)
    rows = weights(made)[ROWS]
    encoder: Any = made.adapted.family.parts["text_encoder"]
    table, tokenizer = encoder.get_input_embeddings().weight, made.adapted.family.tokenizers["text_encoder"]
    known = tokenizer.inner("red circle", add_special_tokens=False).input_ids
    assert torch.equal(rows, table[known[:2]].float()) is bool(initial)
    again = _made(small_sd1, pictures, tmp_path, lora__word_initial=initial)
    assert torch.equal(weights(again)[ROWS], rows)


def test_three_steps_and_three_are_six(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    def made() -> Prepared:
        changes = {"train__steps": 6, "lora__text_encoder": True, "lora__plus_ratio": 4.0}
        return _made(small_sd1, pictures, tmp_path, **changes)

    straight, first, second = made(), made(), made()
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=3)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(tmp_path / "at", 3, first.adapted.trainables, first.loop.optimizer, state)
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    assert [report.loss for report in run_steps(second, start=3)] == losses[3:]
    ours, theirs = weights(second), weights(straight)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def _exported(made: Prepared, folder: Path) -> dict[str, Exported]:
    folder.mkdir(exist_ok=True)
    return {done.format: done for done in export_all(made.plan, made.adapted, folder, 3, made.report.items)}


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_diffusers_with_both_files_draws_what_was_trained(
    form: str, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _made(sd1_folder, pictures, tmp_path, output__dtype="fp32")
    run_steps(made)
    out = tmp_path / "out"
    done = _exported(made, out)
    files = {name: one.path.relative_to(out).as_posix() for name, one in done.items()}
    assert files == {
        "kohya": "quick.safetensors",
        "diffusers": "diffusers/quick.safetensors",
        "a1111_embedding": "zqx.pt",
        "embedding": "diffusers/zqx.safetensors",
    }
    pipeline = StableDiffusionPipeline.from_pretrained(sd1_folder, torch_dtype=torch.float32)
    pipeline.load_lora_weights(str(done[form].path.parent), weight_name=done[form].path.name)
    pipeline.load_textual_inversion(str(done["embedding"].path), token=WORD)
    family, prompt = made.adapted.family, f"a {WORD} on the left"
    for part in family.parts.values():
        part.float().eval()
    with torch.no_grad():
        theirs, _ = pipeline.encode_prompt(prompt, torch.device("cpu"), 1, False)
        ours = family.encode_text(family.tokenize([prompt])).hidden
        assert float((ours - theirs).abs().max()) < 1e-5
        other = family.encode_text(family.tokenize(["a thing on the left"])).hidden
        assert float((ours - other).abs().max()) > 1e-2
        latents, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
        answer = pipeline.unet(latents, times, theirs).sample
        assert float((family.denoiser(latents, times, ours).sample - answer).abs().max()) < 1e-5


def test_a_lora_of_the_words_own_name_gets_another(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(small_sd1, pictures, tmp_path, name="zqx", train__steps=1)
    run_steps(made)
    paths = [
        one.path.relative_to(tmp_path / "out").as_posix()
        for one in _exported(made, tmp_path / "out").values()
    ]
    assert paths == [
        "zqx-lora.safetensors",
        "diffusers/zqx-lora.safetensors",
        "zqx.pt",
        "diffusers/zqx.safetensors",
    ]


def test_without_a_word_all_is_as_it_was(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(small_sd1, pictures, tmp_path, lora__word_vectors=0)
    assert made.plan.export_formats == ("kohya", "diffusers")
    assert not made.plan.options.trains_text
    artifact = made.adapted.method.artifact(made.adapted.family)
    assert artifact.beside == () and artifact.of("embedding") is artifact


def test_the_vectors_are_counted(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(sd1_folder, pictures, tmp_path)
    config, text = (made.adapted.family.configs[part] for part in ("unet", "text_encoder"))
    shape = BaseShape("sd1", config, FAMILIES["sd1"].layers(config), (), text["hidden_size"])
    numbers = sum(item.parameter.numel() for item in made.adapted.trainables)
    assert numbers == made.plan.options.trained_parameters(shape, WORD)


WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"lora__word_vectors": 1}, "lora.word_vectors", "error"),
    ({"lora__word_vectors": 1, "data__trigger": "circle"}, "lora.word_vectors", "warning"),
    ({"lora__word_initial": "cat"}, "lora.word_initial", "warning"),
    ({"lora__word_rate": 1e-3}, "lora.word_rate", "warning"),
    ({"output__formats": ["embedding"]}, "output.formats", "error"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:50])
def test_what_contradicts_it_is_named(
    changes: dict[str, object], key: str, level: str, pictures: Path, no_gpu: Machine
) -> None:
    found = check(make_plan(pictures, **changes), here=no_gpu)
    assert [(problem.key, problem.level) for problem in found] == [(key, level)]


def test_a_made_up_word_raises_nothing(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, data__trigger=WORD, lora__word_vectors=2, lora__word_initial="circle")
    assert check(plan, here=no_gpu) == []
    assert not {"lora.word_initial", "lora.word_rate"} & plan.idle
    assert {"lora.word_initial", "lora.word_rate"} <= make_plan(pictures).idle
