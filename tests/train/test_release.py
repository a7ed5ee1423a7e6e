"""Weights that are stepped in the backward pass: the same bits as after it, and no gradient is left."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.plan.optimizers import OPTIMIZERS
from engine.train import loop
from engine.train.objective import sample_losses
from engine.train.optimizers.update import RestoringUpdate
from engine.train.release import Release
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights
from tests.train.small import Small, plan_of

ALONE = [name for name, spec in OPTIMIZERS.items() if spec.alone]


def loss_of(made: Small, number: int, scale: float = 1.0) -> Tensor:
    """A loss whose gradients are draws of their own for each weight."""
    made.prepare(number)
    draw = torch.Generator().manual_seed(number)
    for value in made.parameters:
        value.grad = None
    parts = [(value * torch.randn(value.shape, generator=draw)).sum() for value in made.parameters]
    return torch.stack(parts).sum() * scale


def released(made: Small, groups: int = 0, clip_norm: float = 0.0) -> Release:
    return Release(made.parameters, made.update, clip_norm, groups)


def step_released(made: Small, release: Release, number: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    loss = loss_of(made, number, scale)
    release.begin(loss)
    torch.autograd.backward(loss)
    return release.finish()


def step_plain(made: Small, number: int, clip_norm: float = 0.0) -> Tensor:
    torch.autograd.backward(loss_of(made, number))
    norm = torch.nn.utils.get_total_norm([value.grad for value in made.parameters if value.grad is not None])
    if clip_norm:
        torch.nn.utils.clip_grads_with_norm_(made.parameters, clip_norm, norm)
    made.update.step(torch.zeros(()))
    return norm


@pytest.mark.parametrize("kept", ["fp32", "bf16"])
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("name", ALONE)
def test_the_bits_are_those_of_a_step_after_the_backward_pass(name: str, groups: int, kept: str) -> None:
    plan = plan_of(Path("/base"), Path("/data"), name, train__weights=kept)
    plain, fused = Small.of(plan), Small.of(plan)
    release = released(fused, groups)
    for number in (1, 2, 3):
        norm = step_plain(plain, number)
        found, bad = step_released(fused, release, number)
        assert not bad and torch.equal(found, norm)
        assert all(value.grad is None for value in fused.parameters)
    assert fused.state() == plain.state()


@pytest.mark.parametrize("groups", [0, 3])
def test_an_optimiser_that_is_put_back_on_the_device_counts_once_an_update(groups: int) -> None:
    plan = plan_of(Path("/base"), Path("/data"), "came")
    plain, fused = Small.of(plan), Small.of(plan)
    fused.update = RestoringUpdate(fused.optimizer)
    release = released(fused, groups)
    for number in (1, 2, 3):
        step_plain(plain, number)
        step_released(fused, release, number)
    assert fused.state() == plain.state()
    before = fused.state()
    assert step_released(fused, release, 4, math.nan)[1]
    assert fused.state() == before


def test_groups_are_clipped_each_by_itself_and_a_norm_below_the_limit_changes_no_bit() -> None:
    plan = plan_of(Path("/base"), Path("/data"), "adamw")
    plain, high, low = (Small.of(plan) for _ in range(3))
    releases = released(high, 2, 1e6), released(low, 2, 0.5)
    seen: list[float] = []
    real = low.update.part

    def part(parameters: list[Tensor], bad: Tensor) -> None:
        gradients = [value.grad for value in parameters if value.grad is not None]
        seen.append(float(torch.nn.utils.get_total_norm(gradients)))
        real(parameters, bad)

    low.update.part = part  # type: ignore[assignment, method-assign]
    step_plain(plain, 1, 1e6)
    step_released(high, releases[0], 1)
    step_released(low, releases[1], 1)
    assert high.state() == plain.state()
    assert len(seen) == len(releases[1].groups) == 2
    assert seen == pytest.approx([0.5, 0.5], rel=1e-3)


@pytest.mark.parametrize("groups", [0, 2])
def test_a_loss_that_is_not_finite_moves_nothing(groups: int) -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), "adamw"))
    release = released(made, groups)
    step_released(made, release, 1)
    before = made.state()
    _, bad = step_released(made, release, 2, math.nan)
    assert bad and made.state() == before


def test_a_weight_that_the_pass_does_not_reach_keeps_its_group_no_longer_waiting() -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), "adamw"))
    release = released(made, 1)
    first, *rest = made.parameters
    before = [value.detach().clone() for value in made.parameters]
    made.prepare(1)
    for value in made.parameters:
        value.grad = None
    loss = torch.stack([value.sum() for value in rest]).sum()
    release.begin(loss)
    torch.autograd.backward(loss)
    release.finish()
    assert torch.equal(first, before[0])
    assert not any(torch.equal(value, old) for value, old in zip(rest, before[1:], strict=True))


def test_outside_of_an_update_gradients_are_kept() -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), "adamw"))
    released(made)
    torch.autograd.backward(loss_of(made, 1))
    assert all(value.grad is not None for value in made.parameters)


def run_of(folder: Path, base: Path, pictures: Path, fused: str) -> Prepared:
    changes = {
        "train__clip_norm": 0.0,
        "hardware__fused_backward": fused,
        "train__ema": 0.9,
        "train__steps": 3,
    }
    return prepared(quick_plan(base, pictures, method="full", **changes), folder)


def test_a_whole_model_trains_with_the_same_bits_and_without_its_gradients(
    sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    made = [run_of(tmp_path / "cache", sd1_folder, pictures, fused) for fused in ("off", "weights", "groups")]
    reports = [run_steps(each) for each in made]
    assert [[(one.loss, one.grad_norm) for one in each] for each in reports[1:]] == [
        [(one.loss, one.grad_norm) for one in reports[0]]
    ] * 2
    plain, *fused = (weights(each) for each in made)
    assert all(torch.equal(plain[name], each[name]) for each in fused for name in plain)
    assert all(value.grad is None for each in made[1:] for value in each.loop.parameters)


def test_memory_that_ends_the_backward_pass_ends_the_run_and_is_known_as_half_done(
    sd1_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_of(tmp_path / "cache", sd1_folder, pictures, "weights")
    run_steps(made, until=1)
    release = made.loop.release
    assert release is not None
    real, left = made.loop.update.part, [3]

    def part(parameters: list[Tensor], bad: Tensor) -> None:
        left[0] -= 1
        if not left[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(parameters, bad)

    monkeypatch.setattr(made.loop.update, "part", part)
    with pytest.raises(torch.OutOfMemoryError):
        run_steps(made, start=1)
    assert not made.loop.whole and made.warnings == []


def test_a_loss_that_is_not_finite_is_told_as_skipped(
    sd1_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_of(tmp_path / "cache", sd1_folder, pictures, "groups")
    run_steps(made, until=1)
    before = weights(made)
    monkeypatch.setattr(loop, "sample_losses", lambda *given: sample_losses(*given) * math.nan)
    (report,) = run_steps(made, start=1, until=2)
    assert report.skipped and all(torch.equal(value, before[name]) for name, value in weights(made).items())
