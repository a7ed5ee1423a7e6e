"""Every optimiser with every schedule: resumes bit for bit, and a step that is not finite leaves nothing behind."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from engine.errors import UserError
from engine.installing import pip_install
from engine.methods.base import Trainable
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schedules import SCHEDULES
from engine.plan.schema import Plan
from engine.train import checkpoint, loop, optimizer_state
from engine.train.ema import OptimizerAverage
from engine.train.objective import sample_losses
from engine.train.optimizers import make_optimizer
from engine.train.optimizers.update import RestoringUpdate
from tests.support.sessions import Prepared, prepared, run_steps, weights
from tests.train.small import ODD, Small, fitting, plan_of, tensors_in


@pytest.fixture(autouse=True)
def _odd_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "odd", ODD)


def bits(value: torch.Tensor) -> bytes:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def everything(made: Prepared) -> dict[str, Any]:
    """Weights, averages and the optimiser's whole state, comparable with ==."""
    made.loop.update.settle()
    state = optimizer_state.read(made.adapted.trainables, made.loop.optimizer)
    tensors = {**weights(made), **state.tensors}
    tensors |= {
        f"average {name}": value.clone()
        for name, value in (made.loop.ema.state() if made.loop.ema else {}).items()
    }
    return {
        **{name: (value.dtype, bits(value)) for name, value in tensors.items()},
        "state": state.to_json(),
    }


def resumed(made: Prepared, plan: Plan, folder: Path) -> Prepared:
    """Another process's loop, from what this one has saved."""
    averages = made.loop.ema.state() if made.loop.ema else None
    state = {"loop": made.loop.state()}
    saved, _ = checkpoint.save(
        folder / "kept", 3, made.adapted.trainables, made.loop.optimizer, state, averages
    )
    other = prepared(plan, folder / "cache")
    other.loop.restore(checkpoint.load(saved, other.adapted.trainables, other.loop.optimizer)["loop"])
    kept = checkpoint.load_averages(saved)
    if other.loop.ema is not None and kept is not None:
        other.loop.ema.restore(kept)
    return other


# Kinds of state: on the device, in 8 bit, of a group, on the host, in lists, with two modes.
KINDS = ["adamw", "adamw8bit", "schedule_free", "prodigy", "soap", "odd"]


@pytest.mark.parametrize("name", KINDS)
def test_a_run_of_three_steps_and_three_is_one_of_six_bit_for_bit(
    small_sd1: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    ema = 0.0 if name in ("odd", "schedule_free") else 0.9
    schedule = "cosine" if fitting(name, "cosine") else "constant"
    plan = plan_of(small_sd1, pictures, name, train__schedule=schedule, train__ema=ema)
    straight = prepared(plan, tmp_path / "cache")
    assert len({group["initial_lr"] for group in straight.loop.optimizer.param_groups}) == 2
    run_steps(straight, until=3)
    other = resumed(straight, plan, tmp_path)
    before = everything(straight)
    assert everything(other) == before
    losses = [report.loss for report in run_steps(straight, start=3)]
    assert [report.loss for report in run_steps(other, start=3)] == losses
    assert everything(other) == everything(straight) != before


ALL = [*OPTIMIZERS, "odd"]
FITTING = [(name, schedule) for name in OPTIMIZERS for schedule in SCHEDULES if fitting(name, schedule)]
# All schedules on the average that the optimiser keeps, which a row's own rules leave to the constant one.
FITTING += [("odd", schedule) for schedule in SCHEDULES]


@pytest.mark.parametrize(("name", "schedule"), FITTING)
def test_three_updates_and_three_are_six_bit_for_bit_under_every_schedule(
    tmp_path: Path, name: str, schedule: str
) -> None:
    straight = Small.of(plan_of(Path("/base"), Path("/data"), name, train__schedule=schedule))
    for number in (1, 2, 3):
        straight.step(number)
    other = straight.again(tmp_path, 3)
    before = straight.state()
    for number in (4, 5, 6):
        straight.step(number)
        other.step(number)
    assert other.state() == straight.state() != before


def test_a_schedule_of_its_own_goes_with_no_other() -> None:
    alone = {name for name in OPTIMIZERS if not fitting(name, "cosine")}
    assert alone == {"schedule_free", "adafactor_relative"}
    assert all(fitting(name, "constant") for name in OPTIMIZERS)


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("name", ALL)
def test_an_update_that_is_not_finite_moves_nothing_and_counts_nothing(name: str, at: int) -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), name))
    made.average = OptimizerAverage((), Mock())
    for number in range(1, at):
        made.step(number)
    before = made.state()
    made.step(at, math.nan)
    assert made.state() == before
    for number in (at + 1, at + 2):  # SOAP's first looks and moves nothing
        made.step(number)
    after = made.state()["weights"]
    assert all(after[key] != before["weights"][key] for key in after)


def test_moments_of_a_checkpoint_lie_as_their_weights_do() -> None:
    """Fused kernels go through memory: other places of the same numbers would be paired."""

    def made() -> tuple[list[Trainable], torch.optim.Optimizer]:
        draw = torch.Generator().manual_seed(1)
        value = torch.randn((4, 3, 3, 3), generator=draw).to(memory_format=torch.channels_last)
        items = [Trainable("conv", torch.nn.Parameter(value), "unet")]
        return items, make_optimizer(items, plan_of(Path("/base"), Path("/data"), "adamw"))

    def step(items: list[Trainable], optimizer: torch.optim.Optimizer, seed: int) -> None:
        draw, value = torch.Generator().manual_seed(seed), items[0].parameter
        value.grad = torch.empty_like(value).copy_(torch.randn(value.shape, generator=draw))
        optimizer.step()

    (items, optimizer), (others, other) = made(), made()
    step(items, optimizer, 2)
    others[0].parameter.data.copy_(items[0].parameter.data)
    optimizer_state.write(optimizer_state.read(items, optimizer), others, other)
    step(items, optimizer, 3)
    step(others, other, 3)
    assert torch.equal(items[0].parameter, others[0].parameter)


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", ["adamw", "odd"])
def test_a_step_that_is_not_finite_moves_nothing(
    small_sd1: Path, pictures: Path, tmp_path: Path, name: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(plan_of(small_sd1, pictures, name), tmp_path / "cache")
    if at > 1:
        run_steps(made, until=at - 1)
    before = everything(made)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "sample_losses", lambda *given: sample_losses(*given) * float("nan"))
        (report,) = run_steps(made, start=at - 1, until=at)
    assert report.skipped
    assert everything(made) == before
    (report,) = run_steps(made, start=at, until=at + 1)
    assert not report.skipped
    assert everything(made) != before


def restoring() -> list[str]:
    """The rows whose updates are put back on the device."""
    return [name for name in ALL if _skip(name) == "restore"]


def _skip(name: str) -> str:
    module = ODD.builder if name == "odd" else OPTIMIZERS[name].builder
    return str(import_module(module).skip)


@pytest.mark.parametrize("bad", [(), (1,), (2, 3), (1, 4, 5)])
@pytest.mark.parametrize("name", restoring())
def test_putting_back_leaves_what_no_step_would_have_left(name: str, bad: tuple[int, ...]) -> None:
    plan = plan_of(Path("/base"), Path("/data"), name, train__schedule="constant")
    plain, guarded = Small.of(plan), Small.of(plan)
    plain.average = guarded.average = OptimizerAverage((), Mock())
    guarded.update = RestoringUpdate(guarded.optimizer)
    for number in range(1, 7):
        guarded.step(number, math.nan if number in bad else 1.0)
        if number not in bad:
            plain.step(number)
    assert guarded.state() == plain.state()


def test_an_average_that_the_optimiser_keeps_is_shown_saved_and_left_again(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    made = prepared(plan_of(small_sd1, pictures, "odd"), tmp_path / "cache")
    run_steps(made, until=3)
    assert isinstance(made.loop.ema, OptimizerAverage)
    own, averages = weights(made), made.loop.ema.state()
    with made.loop.averaged():
        shown = weights(made)
    assert all(torch.equal(shown[name], averages[name]) for name in averages)
    assert any(not torch.equal(own[name], averages[name]) for name in averages)
    assert all(torch.equal(value, own[name]) for name, value in weights(made).items())


def test_a_checkpoint_from_before_groups_were_kept_still_loads(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = plan_of(small_sd1, pictures, "adamw")
    made = prepared(plan, tmp_path / "cache")
    run_steps(made, until=3)
    saved, _ = checkpoint.save(tmp_path / "kept", 3, made.adapted.trainables, made.loop.optimizer, {})
    file = saved.path / checkpoint.STATE
    state = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in state.items() if not k.startswith("optimizer_")}))
    other = prepared(plan, tmp_path / "cache")
    checkpoint.load(saved, other.adapted.trainables, other.loop.optimizer)
    assert everything(other) == everything(made)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_row_says_how_many_bytes_the_state_takes(name: str) -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), name))
    made.step(1)
    for item in made.trainables:
        state = {key: entry for key, entry in made.optimizer.state[item.parameter].items() if key != "step"}
        size = sum(value.numel() * value.element_size() for value in tensors_in(state))
        assert size == OPTIMIZERS[name].state_bytes(tuple(item.parameter.shape)), item.name


PACKAGED = {name: spec for name, spec in OPTIMIZERS.items() if spec.package}


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = PACKAGED[name]
    monkeypatch.setitem(sys.modules, spec.package, None)
    with pytest.raises(UserError, match=spec.package) as caught:
        make_optimizer([], plan_of(Path("/base"), Path("/data"), name))
    assert caught.value.fix == pip_install(spec.requirement)


def test_every_package_is_in_the_extras_of_the_project() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    asked = {spec.requirement for spec in PACKAGED.values()}
    assert asked == {*extras["optimizers"], *extras["bnb"]}
    assert asked <= set(extras["dev"])


def test_lion_steps_as_another_implementation_does() -> None:
    from pytorch_optimizer import Lion

    made = Small.of(plan_of(Path("/base"), Path("/data"), "lion"))
    values = [torch.nn.Parameter(value.detach().clone()) for value in made.parameters]
    twins = dict(zip(map(id, made.parameters), values, strict=True))
    groups = [
        {**group, "params": [twins[id(value)] for value in group["params"]]}
        for group in made.optimizer.param_groups
    ]
    other = Lion(groups, betas=(0.9, 0.999))
    for number in (1, 2, 3):
        made.prepare(number)
        for group, own in zip(other.param_groups, made.optimizer.param_groups, strict=True):
            group["lr"] = own["lr"]
        for one, two in zip(made.parameters, values, strict=True):
            two.grad = None if one.grad is None else one.grad.clone()
        made.update.step(torch.zeros(()))
        other.step()
    for one, two in zip(made.parameters, values, strict=True):
        torch.testing.assert_close(one, two)


def test_muon_steps_matrices_alone_and_both_at_one_rate() -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), "muon"))
    start = [value.detach().clone() for value in made.parameters]
    made.step(1)
    for item, before in zip(made.trainables, start, strict=True):
        state = made.optimizer.state[item.parameter]
        assert ("momentum_buffer" in state) == (item.parameter.ndim == 2)
        moved = float((item.parameter - before).pow(2).mean().sqrt())
        rate = next(
            group["lr"]
            for group in made.optimizer.param_groups
            if any(value is item.parameter for value in group["params"])
        )
        # A full orthogonal step has 0.2; the iteration leaves singular values between 0.5 and 1.5.
        assert 0.05 * rate < moved < 1.2 * rate
