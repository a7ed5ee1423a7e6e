"""The check: every wrong plan is named by its key, with a reason and a fix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.installing import pip_install
from engine.models.bases import BaseInfo, locate
from engine.models.specs import FAMILIES
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.problems import Problem
from engine.planning.check import check
from engine.planning.data import scan_data
from tests.support.plans import card, make_plan


def problems_of(problems: list[Problem], key: str) -> list[Problem]:
    return [problem for problem in problems if problem.key == key]


def full_size(**changes: object) -> BaseInfo:
    """A Stable Diffusion 1.5 that is not on this machine, for rules that only need to know about it."""
    facts: dict[str, object] = {
        "model": "owner/sd15", "kind": "hub", "path": None, "family": "sd1", "title": "Stable Diffusion 1.x",
        "prediction": "epsilon", "variant": "base", "dtype": "fp16", "native_resolution": 512, "tiny": False,
        "reasons": ("a reason",),
    }  # fmt: skip
    return BaseInfo(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_good_plan_has_no_problems(pictures: Path, no_gpu: Machine) -> None:
    assert check(make_plan(pictures), here=no_gpu) == []


WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"data__path": "/nowhere/at/all"}, "data.path", "error"),
    ({"data__resolution": 100}, "data.resolution", "error"),
    ({"data__resolution": 200}, "data.resolution", "warning"),
    ({"data__resolution": 512}, "data.resolution", "warning"),
    ({"data__caption_dropout": 0.9}, "data.caption_dropout", "warning"),
    ({"base__model": "builtin:nothing"}, "base.model", "error"),
    ({"base__model": "/nowhere/model.safetensors"}, "base.model", "error"),
    ({"base__model": "owner/not-here"}, "base.model", "error"),
    ({"base__tokenizer": "/nowhere"}, "base.tokenizer", "error"),
    ({"base__vae": "/nowhere"}, "base.vae", "error"),
    ({"base__clip_skip": 12}, "base.clip_skip", "error"),
    ({"base__family": "sdxl", "base__clip_skip": 2}, "base.clip_skip", "error"),
    ({"lora__text_encoder": True, "data__cache_text": "on"}, "data.cache_text", "error"),
    ({"data__shuffle_tags": True, "data__cache_text": "on"}, "data.cache_text", "error"),
    ({"captions__tag_dropout": 0.1, "data__cache_text": "on"}, "data.cache_text", "error"),
    ({"captions__wildcards": True, "data__cache_text": "on"}, "data.cache_text", "error"),
    ({"data__random_crop": True, "data__cache_latents": "on"}, "data.cache_latents", "error"),
    ({"data__hue": 0.1, "data__cache_latents": "on"}, "data.cache_latents", "error"),
    ({"lora__dora": True, "output__formats": ["kohya"]}, "output.formats", "error"),
    ({"output__formats": ["koya"]}, "output.formats", "error"),
    ({"output__file_name": "../up"}, "output.file_name", "error"),
    ({"output__file_name": "cat:2"}, "output.file_name", "error"),
    ({"output__file_name": "a<b>"}, "output.file_name", "error"),
    ({"output__weights": "raw"}, "output.weights", "warning"),
    ({"output__weights": "both"}, "output.weights", "warning"),
    ({"lora__alpha": 64.0, "lora__rank": 8}, "lora.alpha", "warning"),
    ({"lora__alpha": 0.1, "lora__rank": 16}, "lora.alpha", "warning"),
    ({"lora__rank": 1024, "lora__alpha": 1024.0}, "lora.rank", "warning"),
    ({"lora__text_encoder_learning_rate": 1e-5}, "lora.text_encoder_learning_rate", "warning"),
    ({"train__warmup": 100}, "train.warmup", "error"),
    ({"train__learning_rate": 1.0}, "train.learning_rate", "warning"),
    ({"train__learning_rate": 1e-8}, "train.learning_rate", "warning"),
    ({"optimizer__name": "prodigy"}, "train.learning_rate", "error"),
    (
        {
            "optimizer__name": "prodigy",
            "train__learning_rate": 1.0,
            "lora__text_encoder": True,
            "lora__text_encoder_learning_rate": 1e-4,
        },
        "lora.text_encoder_learning_rate",
        "warning",
    ),
    ({"optimizer__name": "adafactor", "optimizer__beta1": 0.8}, "optimizer.beta1", "warning"),
    ({"train__cycles": 2}, "train.cycles", "warning"),
    ({"train__schedule": "constant", "train__end_share": 0.1}, "train.end_share", "warning"),
    ({"train__schedule": "piecewise_constant"}, "train.rate_steps", "error"),
    ({"train__schedule": "piecewise_constant", "train__rate_steps": "1:9, x"}, "train.rate_steps", "error"),
    (
        {"train__schedule": "piecewise_constant", "train__rate_steps": "1:9, .1:5"},
        "train.rate_steps",
        "error",
    ),
    ({"train__schedule": "piecewise_constant", "train__rate_steps": "1, 0.1:5"}, "train.rate_steps", "error"),
    ({"train__schedule": "piecewise_constant", "train__rate_steps": "-1:5, 1"}, "train.rate_steps", "error"),
    ({"train__schedule": "piecewise_constant", "train__rate_steps": "1e-4:5"}, "train.rate_steps", "error"),
    ({"train__precision": "fp16"}, "train.precision", "error"),
    ({"train__batch_size": 64, "train__steps": 100}, "train.batch_size", "warning"),
    ({"train__steps": 100_000}, "train.steps", "warning"),
    ({"train__steps": 1, "samples__every": 1, "checkpoints__every": 1}, "train.steps", "warning"),
    ({"objective__min_timestep": 500, "objective__max_timestep": 500}, "objective.min_timestep", "error"),
    ({"objective__noise_offset": 0.9}, "objective.noise_offset", "warning"),
    ({"objective__huber_delta": 0.2}, "objective.huber_delta", "warning"),
    ({"samples__prompts": ["word " * 90]}, "samples.prompts", "warning"),
    ({"samples__negative": "word " * 90}, "samples.negative", "warning"),
    ({"data__trigger": "zqx", "samples__prompts": ["a cat"]}, "samples.prompts", "warning"),
    ({"samples__width": 100}, "samples.width", "error"),
    ({"samples__height": 8}, "samples.height", "error"),
    ({"samples__width": 512}, "samples.width", "warning"),
    ({"samples__every": 101}, "samples.every", "warning"),
    ({"checkpoints__every": 101}, "checkpoints.every", "warning"),
    ({"hardware__device": "cuda"}, "hardware.device", "error"),
    ({"hardware__device": "cuda:3"}, "hardware.device", "error"),
    ({"hardware__threads": 1000}, "hardware.threads", "warning"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_plan_is_named_by_its_key(
    pictures: Path, no_gpu: Machine, changes: dict[str, object], key: str, level: str
) -> None:
    found = problems_of(check(make_plan(pictures, **changes), here=no_gpu), key)
    assert [problem.level for problem in found] == [level]
    assert found[0].what and found[0].fix


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "oft"])
def test_no_kind_of_adapter_has_a_problem_with_the_defaults(
    pictures: Path, no_gpu: Machine, kind: str
) -> None:
    assert check(make_plan(pictures, lora__kind=kind), here=no_gpu) == []


def test_wrong_blocks_are_named_while_others_are_right(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, lora__block_ranks=["NOWHERE=4"], lora__block_rates=["OUT03=0.5"])
    assert [problem.key for problem in check(plan, here=no_gpu)] == ["lora.block_ranks"]


def test_everything_wrong_is_said_at_once_with_errors_first(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(
        pictures, train__warmup=500, hardware__device="cuda", lora__alpha=900.0, base__model="builtin:no"
    )
    problems = check(plan, here=no_gpu)
    keys = [problem.key for problem in problems]
    assert {"train.warmup", "hardware.device", "lora.alpha", "base.model"} <= set(keys)
    levels = [problem.level for problem in problems]
    assert levels == sorted(levels, key=lambda level: level != "error")


def test_sizes_that_the_unet_cannot_halve_thrice_are_warned_about(pictures: Path, no_gpu: Machine) -> None:
    base = full_size(path=pictures)
    found = check(make_plan(pictures, data__resolution=520), base=base, here=no_gpu)
    assert [problem.fix for problem in problems_of(found, "data.resolution")] == ["set 512"]
    assert not problems_of(check(make_plan(pictures, data__resolution=72), here=no_gpu), "data.resolution")


def test_the_effective_scale_is_shown(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, lora__rank=4, lora__alpha=64.0)
    assert "16 " in problems_of(check(plan, here=no_gpu), "lora.alpha")[0].what
    rs = make_plan(pictures, lora__rank=64, lora__alpha=16.0, lora__rslora=True)
    assert not problems_of(check(rs, here=no_gpu), "lora.alpha")


def test_broken_pictures_are_named_with_their_files(pictures: Path, no_gpu: Machine) -> None:
    (pictures / "broken.png").write_bytes(b"this is no picture")
    found = problems_of(check(make_plan(pictures), here=no_gpu), "data.path")
    assert any("broken.png" in problem.what for problem in found)


def test_many_files_with_the_same_fault_are_one_problem(pictures: Path, no_gpu: Machine) -> None:
    for index in range(9):
        (pictures / f"broken{index}.png").write_bytes(b"this is no picture")
    found = problems_of(check(make_plan(pictures), here=no_gpu), "data.path")
    assert len(found) == 1
    assert "and 5 more" in found[0].what


def test_a_family_that_differs_from_the_model_is_an_error(pictures: Path, no_gpu: Machine) -> None:
    found = check(make_plan(pictures, base__family="sd1"), base=full_size(family="sdxl"), here=no_gpu)
    assert problems_of(found, "base.family")[0].level == "error"


@pytest.mark.parametrize("changes", [{"family": "sd3"}, {"variant": "inpainting"}])
def test_a_base_that_cannot_be_trained_is_refused_by_name(
    pictures: Path, no_gpu: Machine, changes: dict[str, object]
) -> None:
    found = problems_of(check(make_plan(pictures), base=full_size(**changes), here=no_gpu), "base.model")
    assert "error" in [problem.level for problem in found]


def test_a_method_that_needs_what_the_family_lacks_is_refused(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "sd1", replace(FAMILIES["sd1"], provides=frozenset()))
    found = problems_of(check(make_plan(pictures, method="controlnet"), here=no_gpu), "method")
    assert "controlnet" in found[0].why


def test_a_single_file_without_a_tokenizer_says_where_to_get_one(
    pictures: Path, no_gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    file = tmp_path / "alone" / "model.safetensors"
    file.parent.mkdir()
    file.touch()
    base = full_size(kind="file", path=file)
    found = problems_of(check(make_plan(pictures), base=base, here=no_gpu), "base.tokenizer")
    assert found[0].level == "error" and "vocab.json" in found[0].fix
    (file.parent / "vocab.json").write_text("{}")
    (file.parent / "merges.txt").write_text("")
    assert not problems_of(check(make_plan(pictures), base=base, here=no_gpu), "base.tokenizer")


def test_a_plan_too_large_for_the_card_is_warned_about(pictures: Path) -> None:
    plan = make_plan(pictures, data__resolution=512, train__batch_size=4)
    small = check(plan, base=full_size(), here=card(4))
    assert problems_of(small, "hardware.gradient_checkpointing")[0].level == "warning"
    assert not problems_of(check(plan, base=full_size(), here=card(24)), "hardware.gradient_checkpointing")


def test_bf16_on_an_old_card_is_warned_about(pictures: Path) -> None:
    plan = make_plan(pictures, train__precision="bf16")
    assert problems_of(check(plan, here=card(16, (7, 5))), "train.precision")
    assert not problems_of(check(plan, here=card(16, (8, 6))), "train.precision")


def test_a_full_size_model_on_a_cpu_is_warned_about(pictures: Path, no_gpu: Machine) -> None:
    found = problems_of(check(make_plan(pictures), base=full_size(), here=no_gpu), "hardware.device")
    assert [problem.level for problem in found] == ["warning"]


def test_a_run_larger_than_the_free_disk_is_an_error(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.cost.disk.disk_free", lambda path: 1_000_000)
    found = check(make_plan(pictures, samples__every=0), here=no_gpu)
    assert problems_of(found, "checkpoints.keep")[0].level == "error"


def test_checking_twice_says_the_same_and_writes_nothing(pictures: Path, no_gpu: Machine) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in pictures.iterdir())
    plan = make_plan(pictures, train__warmup=500, data__resolution=512)
    assert check(plan, here=no_gpu) == check(plan, here=no_gpu)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in pictures.iterdir()) == before


def test_what_the_caller_has_looked_at_is_not_looked_at_again(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(pictures)
    report, base = scan_data(plan), locate("builtin:tiny")
    monkeypatch.setattr("engine.planning.check.scan_data", lambda plan: pytest.fail("scanned again"))
    monkeypatch.setattr("engine.planning.check.locate", lambda *words, **more: pytest.fail("located again"))
    assert check(plan, report=report, base=base, here=no_gpu) == []


def test_an_optimiser_without_its_package_is_told_with_the_command(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(pictures, optimizer__name="prodigy", train__learning_rate=1.0)
    assert check(plan, here=no_gpu) == []
    monkeypatch.setattr("engine.planning.rules.optimizers.find_spec", lambda name: None)
    (problem,) = check(plan, here=no_gpu)
    assert (problem.key, problem.level) == ("optimizer.name", "error")
    assert problem.fix == pip_install("prodigyopt>=1.1.2,<2")


def test_what_an_optimiser_rules_out_is_its_rows_to_say(
    pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Problem("train.schedule", "has a schedule of its own")
    row = replace(OPTIMIZERS["adamw"], contradictions=lambda plan: [said] * (plan.train.schedule == "cosine"))
    monkeypatch.setitem(OPTIMIZERS, "adamw", row)
    assert check(make_plan(pictures, train__schedule="cosine"), here=no_gpu) == [said]
    assert check(make_plan(pictures, train__schedule="linear"), here=no_gpu) == []


def test_a_problem_is_plain_data(pictures: Path, no_gpu: Machine) -> None:
    problem = check(make_plan(pictures, train__warmup=500), here=no_gpu)[0]
    data = json.loads(json.dumps(problem.to_json()))
    assert list(data) == ["key", "what", "why", "fix", "level"]
    assert problem.text().splitlines()[0].startswith("error: train.warmup: ")
