"""A LoRA that goes on from a file: step 0 is what the file is, and what does not fit is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import UserError
from engine.export.base import ModelFacts
from engine.export.registry import export
from engine.plan.schema import Plan
from engine.planning.build import build
from engine.planning.builder import Facts
from engine.planning.check import check
from tests.export.tiny_models import request
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

RANK = 4


def _plan(base: Path, pictures: Path, **changes: Any) -> Plan:
    named = {f"lora__{name}": value for name, value in changes.items()}
    return quick_plan(base, pictures, train__steps=3, **named)


def _exported(made: Prepared, form: str, out: Path, family: str) -> Path:
    """The LoRA as a file of fp32."""
    spec = made.adapted.family
    facts = ModelFacts(family, configs={name: dict(config) for name, config in spec.configs.items()})
    asked = request(made.adapted.method.artifact(spec), out, family)
    export(form, replace(asked, model=facts))
    return out


def _prediction(made: Prepared) -> torch.Tensor:
    (batch,) = made.feed.step(1, 2)
    with torch.no_grad():
        family = made.adapted.family
        cond = family.with_geometry(batch.cond(), batch.sizes)
        return family.denoise(batch.mean, torch.tensor([10, 900]), cond, {})


@pytest.fixture(scope="module")
def finished(sd1_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained LoRA of attention, rank 4 and alpha 2, in kohya's form."""
    from tests.support.pictures import write_pictures

    folder = tmp_path_factory.mktemp("finished")
    made = prepared(
        _plan(sd1_folder, write_pictures(folder / "pictures", count=4), alpha=2.0), folder / "cache"
    )
    run_steps(made)
    return _exported(made, "kohya", folder / "one.safetensors", "sd1")


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@pytest.mark.parametrize(("family", "options"), [
    ("sd1", {"targets": "all", "text_encoder": True}),
    ("sd1", {"targets": "attention", "alpha": 2.0}),
    ("sd1", {"targets": "attention_ff", "rslora": True, "alpha": 2.0}),
    ("sdxl", {"targets": "all", "text_encoder": True}),
])  # fmt: skip
def test_step_0_is_the_finished_runs_prediction_and_file(
    form: str,
    family: str,
    options: dict[str, Any],
    narrow_models: dict[str, Path],
    pictures: Path,
    tmp_path: Path,
) -> None:
    base = narrow_models[family]
    made = prepared(_plan(base, pictures, **options), tmp_path / "cache")
    run_steps(made)
    file = _exported(made, form, tmp_path / "one.safetensors", family)
    # A peft file has its strength in the upper half, so that its alpha is its rank.
    same = options if form == "kohya" else {**options, "alpha": 4.0, "rslora": False}
    plan = _plan(base, pictures, **same, start=str(file))
    again = prepared(plan, tmp_path / "cache")
    assert torch.equal(_prediction(again), _prediction(made))
    written = load_file(_exported(again, form, tmp_path / "two.safetensors", family))
    first = load_file(file)
    assert written.keys() == first.keys()
    assert all(torch.equal(written[name], value) for name, value in first.items())


def test_another_alpha_is_the_same_change(
    finished: Path, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    one = prepared(_plan(sd1_folder, pictures, alpha=2.0, start=str(finished)), tmp_path / "cache")
    other = prepared(_plan(sd1_folder, pictures, alpha=8.0, start=str(finished)), tmp_path / "cache")
    assert torch.equal(_prediction(one), _prediction(other))
    assert any(not torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_a_start_changes_nothing_but_the_pairs(
    finished: Path, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    plain = prepared(_plan(sd1_folder, pictures, alpha=2.0), tmp_path / "cache")
    started = prepared(_plan(sd1_folder, pictures, alpha=2.0, start=str(finished)), tmp_path / "cache")
    assert weights(plain).keys() == weights(started).keys()
    assert not torch.equal(_prediction(plain), _prediction(started))


def test_rank_alpha_and_targets_are_read_from_the_file(
    finished: Path, sd1_folder: Path, pictures: Path
) -> None:
    answers = {"base.model": str(sd1_folder), "data.path": str(pictures), "lora.start": str(finished)}
    made = build(answers, Facts())
    options: Any = made.plan.options
    assert (options.rank, options.alpha, options.targets, options.text_encoder) == (
        4,
        2.0,
        "attention",
        False,
    )
    assert "one.safetensors" in next(each.why for each in made.derived if each.key == "lora.rank")


def _rewritten(file: Path, out: Path, old: str, new: str) -> Path:
    save_file({name.replace(old, new): value for name, value in load_file(file).items()}, out)
    return out


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"rank": 8}, "lora.rank"),
        ({"targets": "all"}, "lora.targets"),
        ({"text_encoder": True}, "lora.text_encoder"),
        ({"dora": True}, "lora.dora"),
        ({"kind": "loha"}, "lora.kind"),
        ({"block_ranks": ["MID=2"]}, "lora.block_ranks"),
        ({"start": "nowhere.safetensors"}, "lora.start"),
    ],
)
def test_what_does_not_fit_is_named_by_check(
    changes: dict[str, Any], key: str, finished: Path, sd1_folder: Path, pictures: Path
) -> None:
    fits = {"alpha": 2.0, "start": str(finished)}
    assert not [found for found in check(_plan(sd1_folder, pictures, **fits)) if found.level == "error"]
    found = check(_plan(sd1_folder, pictures, **{**fits, **changes}))
    assert key in [problem.key for problem in found if problem.level == "error"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lora_down.weight", "hada_w1_a", "is a LoHa"),
        ("alpha", "dora_scale", "is a DoRA"),
        ("lora_unet", "somewhere", "does not fit"),
        ("lora_down", "other", "is no LoRA"),
    ],
)
def test_other_files_are_named_for_what_they_are(
    old: str, new: str, says: str, finished: Path, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    file = _rewritten(finished, tmp_path / "other.safetensors", old, new)
    found = check(_plan(sd1_folder, pictures, alpha=2.0, start=str(file)))
    assert [problem.what for problem in found if problem.key == "lora.start" and says in problem.what]


def test_another_family_is_refused_by_check_and_by_the_engine(
    finished: Path, narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    plan = _plan(narrow_models["sdxl"], pictures, alpha=2.0, start=str(finished))
    assert "lora.start" in [found.key for found in check(plan) if found.level == "error"]
    with pytest.raises(UserError, match="does not fit this plan"):
        prepared(plan, tmp_path / "cache")
