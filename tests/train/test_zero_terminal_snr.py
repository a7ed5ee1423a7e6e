"""Zero terminal SNR that is switched on for a base whose schedule ended with some signal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors import safe_open

from engine.cost.machine import Machine
from engine.families.load import load_family
from engine.models.published import published
from engine.plan.schema import Plan
from engine.planning.check import check
from engine.train.exporting import export_all
from tests.support.first_step import first_step
from tests.support.models import write_sd1, write_sd2, write_sdxl
from tests.support.plans import make_plan
from tests.support.runs import quick_plan
from tests.support.schedules import alphas_of
from tests.support.sessions import prepared, run_steps

ON: dict[str, object] = {"base__zero_terminal_snr": True}
WRITERS: dict[str, Callable[[Path], Path]] = {"sd1": write_sd1, "sd2": write_sd2, "sdxl": write_sdxl}
V: dict[str, object] = {"base__prediction": "v_prediction"}


def _rescaled() -> torch.Tensor:
    """The cumulated alphas by algorithm 1 of Lin et al. 2023 (arXiv:2305.08891), written out over betas."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = (1 - betas).cumprod(0).sqrt()
    first, last = bar[0].item(), bar[-1].item()
    return torch.stack([(each - last) * first / (first - last) for each in bar]) ** 2


def test_the_schedule_ends_in_noise_alone_and_nothing_else_changes(
    small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other = (
        first_step(quick_plan(small_sd1, pictures, **V, **changes), tmp_path / "cache", monkeypatch)
        for changes in ({}, ON)
    )
    for part in ("latents", "added", "times"):
        assert torch.equal(getattr(plain, part), getattr(other, part)), part
    alphas = alphas_of(other.family)
    assert float(alphas[-1]) == 0 and float(alphas_of(plain.family)[-1]) > 0.004
    assert torch.allclose(alphas, _rescaled(), atol=1e-5)
    assert other.family.schedule.timetable(5, (4, 8, 8))[0] == 999
    # What is to be predicted: v = sqrt(alpha) noise - sqrt(1 - alpha) latents (arXiv:2202.00512).
    factors = alphas[other.times].float().view(-1, 1, 1, 1)
    target = factors.sqrt() * other.added - (1 - factors).sqrt() * other.latents
    assert torch.allclose(other.target, target, atol=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_whole_models_say_so_and_are_read_again_with_it(family: str, tmp_path: Path, pictures: Path) -> None:
    base = WRITERS[family](tmp_path / "base")
    plan = quick_plan(
        base,
        pictures,
        method="full",
        train__steps=1,
        output__formats=["diffusers_folder", "single_file"],
        **V,
        **ON,
    )
    made = prepared(plan, tmp_path / "cache")
    run_steps(made)
    (tmp_path / "out").mkdir()
    for done in export_all(plan, made.adapted, tmp_path / "out", 1, made.report.items):
        again = load_family(done.path, tokenizer=str(base / "tokenizer") if done.path.is_file() else None)
        assert again.schedule.prediction == "v_prediction", done.format
        assert torch.equal(alphas_of(again), alphas_of(made.adapted.family)), done.format
        if done.path.is_dir():
            theirs = DDIMScheduler.from_pretrained(done.path / "scheduler")
            assert float(theirs.alphas_cumprod[-1]) == 0 and theirs.config.timestep_spacing == "trailing"
            card = (done.path / "README.md").read_text(encoding="utf-8")
            assert "zero terminal SNR" in card and "guidance_rescale=0.7" in card


@pytest.mark.parametrize("on", [False, True])
def test_a_loras_metadata_says_what_its_pictures_have_to_be_drawn_with(
    on: bool, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = {**V, **ON} if on else {}
    plan = quick_plan(small_sd1, pictures, train__steps=1, output__formats=["kohya"], **changes)
    made = prepared(plan, tmp_path / "cache")
    run_steps(made)
    (done,) = export_all(plan, made.adapted, tmp_path, 1, made.report.items)
    with safe_open(done.path, "pt") as file:
        notes = file.metadata()
    assert notes["ss_zero_terminal_snr"] == str(on)
    assert notes["modelspec.prediction_type"] == ("v" if on else "epsilon")


WRONG: list[tuple[dict[str, object], str, str]] = [
    (ON, "base.zero_terminal_snr", "error"),
    ({**ON, "base__prediction": "epsilon"}, "base.zero_terminal_snr", "error"),
    ({**ON, "method": "scratch"}, "base.zero_terminal_snr", "error"),
    ({**ON, **V, "objective__noise_offset": 0.05}, "objective.noise_offset", "warning"),
    ({**ON, **V, "objective__pyramid_noise": 6}, "objective.pyramid_noise", "warning"),
    (V, "base.prediction", "warning"),
    ({"samples__guidance": 1.0, "samples__guidance_rescale": 0.7}, "samples.guidance_rescale", "warning"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:60])
def test_what_contradicts_it_is_named(
    changes: dict[str, object], key: str, level: str, pictures: Path, no_gpu: Machine
) -> None:
    found = {problem.key: problem for problem in check(make_plan(pictures, **changes), here=no_gpu)}
    assert found[key].level == level
    assert found[key].what and found[key].why and found[key].fix


def test_a_base_that_predicts_v_raises_nothing(tmp_path: Path, pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, **ON, base__model=str(write_sd2(tmp_path / "v", "v_prediction")))
    keys = {problem.key for problem in check(plan, here=no_gpu)}
    assert not {key for key in keys if key.startswith(("base", "objective"))}


def test_it_is_asked_for_where_the_model_predicts_v(pictures: Path) -> None:
    def idle(**changes: object) -> frozenset[str]:
        plan: Plan = make_plan(pictures, **changes)
        return plan.idle

    assert "base.zero_terminal_snr" not in idle(**V)
    assert "base.zero_terminal_snr" in idle(base__prediction="epsilon")
    assert "base.zero_terminal_snr" in idle(method="scratch")
    assert "samples.guidance_rescale" in idle(samples__guidance=1.0)
    assert published("sd1", "scheduler").get("rescale_betas_zero_snr") is not True
