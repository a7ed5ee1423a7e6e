"""A word and a hypernetwork go on from a file: 0 steps more give the same file, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.export.base import ModelFacts
from engine.export.registry import export
from engine.plan.schema import Plan
from engine.planning.build import build
from engine.planning.builder import Facts
from engine.planning.check import check
from engine.tensorfiles import pickles
from tests.export.tiny_models import request
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights


def _plan(base: Path, pictures: Path, method: str, **changes: Any) -> Plan:
    word = {"data__trigger": "<cat>"} if method == "textual_inversion" else {}
    named = {f"{method}__{name}": value for name, value in changes.items()}
    return quick_plan(base, pictures, method=method, train__steps=2, **word, **named)


def _exported(made: Prepared, form: str, out: Path) -> Path:
    family = made.adapted.family
    facts = ModelFacts(
        family.spec.name, configs={name: dict(config) for name, config in family.configs.items()}
    )
    asked = request(made.adapted.method.artifact(family), out, family.spec.name)
    export(form, replace(asked, model=facts))
    return out


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path) if path.suffix == ".safetensors" else pickles.load(path)


def _same(one: Path, other: Path) -> bool:
    first, second = _tensors(one), _tensors(other)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


@pytest.mark.parametrize(("method", "form", "ending", "options"), [
    ("textual_inversion", "a1111_embedding", ".pt", {"vectors": 3}),
    ("textual_inversion", "embedding", ".safetensors", {"vectors": 2}),
    ("hypernetwork", "a1111_hypernetwork", ".pt", {"activation": "relu", "layer_structure": [1.0, 1.5, 2.0, 1.0]}),
    ("hypernetwork", "a1111_hypernetwork", ".pt", {"self_attention": False}),
])  # fmt: skip
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_no_steps_more_give_the_same_file(
    method: str,
    form: str,
    ending: str,
    options: dict[str, Any],
    family: str,
    narrow_models: dict[str, Path],
    pictures: Path,
    tmp_path: Path,
) -> None:
    base = narrow_models[family]
    made = prepared(_plan(base, pictures, method, **options), tmp_path / "cache")
    run_steps(made)
    file = _exported(made, form, tmp_path / f"one{ending}")
    again = prepared(_plan(base, pictures, method, **options, start=str(file)), tmp_path / "cache")
    assert weights(again).keys() == weights(made).keys()
    assert all(torch.equal(value, weights(made)[name]) for name, value in weights(again).items())
    assert _same(_exported(again, form, tmp_path / f"two{ending}"), file)
    run_steps(again)
    assert any(not torch.equal(value, weights(made)[name]) for name, value in weights(again).items())


def test_diffusers_learned_embeds_are_read_by_word_and_beside(
    narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    made = prepared(_plan(narrow_models["sdxl"], pictures, "textual_inversion"), tmp_path / "cache")
    run_steps(made)
    first, second = (value.detach().clone() for value in weights(made).values())
    save_file({"<other>": first[0]}, tmp_path / "learned_embeds.safetensors")
    save_file({"<other>": second}, tmp_path / "learned_embeds_2.safetensors")
    start = str(tmp_path / "learned_embeds.safetensors")
    again = prepared(
        _plan(narrow_models["sdxl"], pictures, "textual_inversion", start=start), tmp_path / "cache"
    )
    assert all(torch.equal(value, weights(made)[name]) for name, value in weights(again).items())
    drawn = torch.randn(96, generator=torch.Generator().manual_seed(3))
    torch.save({"<cat>": drawn, "<dog>": drawn * 2}, tmp_path / "learned_embeds.bin")
    words = _plan(
        narrow_models["sd1"],
        pictures,
        "textual_inversion",
        tokens=["<dog>", "<cat>"],
        start=str(tmp_path / "learned_embeds.bin"),
    )
    two = prepared(words, tmp_path / "cache")
    (rows,) = weights(two).values()
    assert torch.equal(rows, torch.stack([drawn * 2, drawn]))


def _keys(plan: Plan) -> dict[str, str]:
    return {
        problem.key: f"{problem.what} {problem.why}" for problem in check(plan) if problem.level == "error"
    }


def test_a_word_of_another_family_or_number_is_refused_by_name(
    narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    save_file({"emb_params": torch.zeros(2, 40)}, tmp_path / "wide.safetensors")
    save_file({"clip_l": torch.zeros(1, 32), "clip_g": torch.zeros(1, 32)}, tmp_path / "xl.safetensors")
    save_file({"a.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    save_file({"<a>": torch.zeros(2), "<b>": torch.zeros(2)}, tmp_path / "both.safetensors")

    def found(name: str, **changes: Any) -> dict[str, str]:
        start = str(tmp_path / f"{name}.safetensors")
        return _keys(_plan(narrow_models["sd1"], pictures, "textual_inversion", start=start, **changes))

    key = "textual_inversion.start"
    assert "40 wide" in found("wide", vectors=2)[key]
    assert "has 2" in found("wide")["textual_inversion.vectors"]
    assert "another family" in found("xl")[key]
    assert "is a LoRA" in found("lora")[key]
    assert "no file of a word" in found("both")[key] or "textual inversion" in found("both")[key]
    assert "not there" in found("none")[key]


def test_a_hypernetwork_that_does_not_fit_is_refused_by_name(
    narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    base = narrow_models["sd1"]
    made = prepared(_plan(base, pictures, "hypernetwork", activation="relu"), tmp_path / "cache")
    file = _exported(made, "a1111_hypernetwork", tmp_path / "one.pt")
    content = torch.load(file, weights_only=True)

    def found(change: dict[Any, Any], **options: Any) -> dict[str, str]:
        torch.save(content | change, tmp_path / "other.pt")
        plan = _plan(base, pictures, "hypernetwork", start=str(tmp_path / "other.pt"), **options)
        return _keys(plan)

    assert found({}, activation="relu") == {}
    assert "has relu" in found({})["hypernetwork.activation"]
    assert set(found({}, activation="relu", layer_structure=[1.0, 3.0, 1.0])) == {
        "hypernetwork.layer_structure"
    }
    assert "layer norms" in found({"is_layer_norm": True}, activation="relu")["hypernetwork.start"]
    assert "behind its last" in found({"activate_output": True}, activation="relu")["hypernetwork.start"]
    wide = tuple(
        {"linear.0.weight": torch.zeros(80, 40), "linear.2.weight": torch.zeros(40, 80)} for _ in "kv"
    )
    assert "another family" in found({40: wide}, activation="relu")["hypernetwork.start"]
    save_file({"emb_params": torch.zeros(1, 2)}, tmp_path / "word.safetensors")
    plan = _plan(base, pictures, "hypernetwork", start=str(tmp_path / "word.safetensors"))
    assert "textual inversion" in _keys(plan)["hypernetwork.start"]


@pytest.mark.parametrize(("method", "own", "far"), [
    ("controlnet", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", (320, 2048)),
    ("t2i_adapter", "adapter.conv_in.weight", (320, 768, 3, 3)),
])  # fmt: skip
def test_a_network_of_another_kind_or_family_is_refused_before_the_run(
    method: str,
    own: str,
    far: tuple[int, ...],
    narrow_models: dict[str, Path],
    pictures: Path,
    tmp_path: Path,
) -> None:
    mark = {
        "controlnet": "controlnet_cond_embedding.conv_in.weight",
        "t2i_adapter": "adapter.body.0.resnets.0.x",
    }
    save_file({mark[method]: torch.zeros(1), own: torch.zeros(far)}, tmp_path / "xl.safetensors")
    other = next(name for key, name in mark.items() if key != method)
    torch.save({other: torch.zeros(1)}, tmp_path / "other.pth")
    save_file({"something": torch.zeros(1)}, tmp_path / "odd.safetensors")

    def found(name: str) -> str:
        start = {f"{method}__start": str(tmp_path / name), f"{method}__condition": "canny"}
        return _keys(quick_plan(narrow_models["sd1"], pictures, method=method, **start))[f"{method}.start"]

    assert "is of another family" in found("xl.safetensors")
    assert ("is a T2I-Adapter" if method == "controlnet" else "is a ControlNet") in found("other.pth")
    assert "is no " in found("odd.safetensors")


def test_a_new_plan_takes_what_the_file_says(pictures: Path, tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(5, 768)}, tmp_path / "five.safetensors")
    answers = {
        "name": "on",
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        "data.trigger": "<cat>",
        "method": "textual_inversion",
        "textual_inversion.start": str(tmp_path / "five.safetensors"),
    }
    assert build(answers, Facts()).plan.textual_inversion.vectors == 5  # type: ignore[attr-defined]


def test_nothing_of_a_pickle_is_executed(pictures: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"emb_params": Evil()}, tmp_path / "evil.pt")
    for method in ("textual_inversion", "hypernetwork"):
        plan = _plan(Path("builtin:tiny"), pictures, method, start=str(tmp_path / "evil.pt"))
        plan = plan.model_copy(update={"base": plan.base.model_copy(update={"model": "builtin:tiny"})})
        assert "more than weights" in _keys(plan)[f"{method}.start"]
    assert not (tmp_path / "ran").exists()
