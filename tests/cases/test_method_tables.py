"""A value goes to the table that the plan's method reads, and a table that nobody reads is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.plan.files import load_plan, load_stored, plan_hash
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.lora_counts import unit_alpha
from engine.plan.problems import PlanErrors
from engine.planning.build import build, gather
from engine.planning.check import check
from tests.cli.conftest import Cli, Done
from tests.support.plans import make_plan


def new(cli: Cli, pictures: Path, *more: str) -> Done:
    return cli("new", "--base", "builtin:tiny", "--data", str(pictures), "-o", "my.toml", *more)


@pytest.mark.parametrize("method", ["lora", "style_lora"])
@pytest.mark.parametrize("rank", [5, 32])
def test_rank_goes_to_the_methods_own_table_and_alpha_follows(
    cli: Cli, pictures: Path, method: str, rank: int
) -> None:
    done = new(cli, pictures, "--method", method, "--rank", str(rank))
    assert done.code == 0, done.err
    options = load_plan(cli.folder / "my.toml").options
    assert isinstance(options, LoraOptions)
    assert (options.rank, options.alpha, options.effective_scale) == (rank, rank, 1)
    text = (cli.folder / "my.toml").read_text()
    assert f"[{method}]" in text and text.count("rank = ") == 1


def test_a_given_alpha_stays_beside_a_given_rank(cli: Cli, pictures: Path) -> None:
    assert new(cli, pictures, "--method", "style_lora", "--rank", "8", "--alpha", "4").code == 0
    options = load_plan(cli.folder / "my.toml").options
    assert isinstance(options, LoraOptions) and (options.rank, options.alpha) == (8, 4)


@pytest.mark.parametrize("method", ["textual_inversion", "full", "dreambooth", "hypernetwork"])
@pytest.mark.parametrize("flag", ["--rank", "--alpha"])
def test_a_method_without_a_rank_says_what_it_takes(cli: Cli, pictures: Path, method: str, flag: str) -> None:
    done = new(cli, pictures, "--method", method, flag, "8")
    assert done.code == 2 and flag in done.err and "lora, style_lora" in done.err
    assert f"{method}." in done.err
    assert not (cli.folder / "my.toml").exists()


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("style_lora", "lora.rank=4", "did you mean style_lora.rank?"),
        ("lora", "style_lora.alpha=4", "did you mean lora.alpha?"),
        ("full", "dreambooth.text_encoder=true", "did you mean full.text_encoder?"),
        ("textual_inversion", "lora.rank=4", "leave it out"),
    ],
)
def test_a_table_that_the_method_does_not_read_is_an_error_everywhere(
    cli: Cli, pictures: Path, method: str, given: str, said: str
) -> None:
    key = given.partition("=")[0]
    done = new(cli, pictures, "--method", method, "--trigger", "zqx", "--set", given)
    assert done.code == 2 and f"error: {key}: is not read" in done.err and said in done.err
    assert not (cli.folder / "my.toml").exists()
    assert new(cli, pictures, "--method", method, "--trigger", "zqx").code in (0, 2)
    for command in ("check", "estimate"):
        done = cli(command, "my.toml", "--set", given)
        assert done.code == 2 and said in done.err


def test_a_table_in_a_plan_file_is_an_error_with_all_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    text = 'name = "x"\nmethod = "style_lora"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "p"\n[lora]\n'
    file.write_text(f"{text}rank = 4\nalpha = 4.0\n")
    with pytest.raises(PlanErrors) as caught:
        load_plan(file)
    assert [problem.key for problem in caught.value.problems] == ["lora.rank", "lora.alpha"]
    file.write_text(text)
    with pytest.raises(PlanErrors) as caught:
        load_plan(file)
    assert [problem.key for problem in caught.value.problems] == ["lora"]


def test_a_runs_own_plan_with_such_a_table_is_read_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    text = 'name = "x"\nmethod = "full"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "/p"\n'
    file.write_text(text)
    without, unread = load_stored(file)
    assert unread == [] and without == load_plan(file)
    file.write_text(f"{text}[lora]\nrank = 4\n")
    plan, unread = load_stored(file)
    assert [problem.key for problem in unread] == ["lora.rank"]
    assert plan.options == without.options
    # The hash of a run that was started so does not change under it.
    assert plan_hash(plan) != plan_hash(without)


@pytest.mark.parametrize("method", ["lora", "style_lora"])
@pytest.mark.parametrize("rank", [None, 4, 16, 48, 64])
def test_rslora_derives_the_alpha_whose_scale_is_1(
    pictures: Path, no_gpu: Machine, method: str, rank: int | None
) -> None:
    given: dict[str, object] = {
        "method": method, "base.model": "builtin:tiny", "data.path": str(pictures), f"{method}.rslora": True,
    }  # fmt: skip
    given |= {} if rank is None else {f"{method}.rank": rank}
    built = build(given, gather(given, no_gpu))
    options = built.plan.options
    assert isinstance(options, LoraOptions)
    assert options.effective_scale == pytest.approx(1, abs=1e-4)
    why = next(item.why for item in built.derived if item.key == f"{method}.alpha")
    assert "square root" in why
    problems = check(built.plan, here=no_gpu)
    assert not [problem for problem in problems if problem.key == f"{method}.alpha"]


@pytest.mark.parametrize(
    ("rank", "alpha", "rslora", "low", "high"),
    [
        (16, 16.0, True, 2, 4),
        (64, 64.0, True, 4, 8),
        (32, 32.0, True, 2.828, 5.657),
        (64, 0.05, True, 4, 8),
        (8, 64.0, False, 4, 8),
        (16, 64.0, False, 8, 16),
    ],
)
def test_the_fix_of_a_scale_is_computed_like_the_scale(
    pictures: Path, no_gpu: Machine, rank: int, alpha: float, rslora: bool, low: float, high: float
) -> None:
    plan = make_plan(pictures, lora__rank=rank, lora__alpha=alpha, lora__rslora=rslora)
    found = [problem for problem in check(plan, here=no_gpu) if problem.key == "lora.alpha"]
    assert [problem.level for problem in found] == ["warning"]
    assert f"between {low:g} and {high:g} " in found[0].fix
    for value in (low, high):
        mended = make_plan(pictures, lora__rank=rank, lora__alpha=float(value), lora__rslora=rslora)
        assert not [problem for problem in check(mended, here=no_gpu) if problem.key == "lora.alpha"]
    assert unit_alpha(rank, rslora) == (math.sqrt(rank) if rslora else rank)
