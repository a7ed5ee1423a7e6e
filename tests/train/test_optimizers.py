"""Every optimiser with every schedule: resumes bit for bit, and a step that is not finite leaves nothing behind."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from engine.errors import UserError
from engine.installing import pip_install
from engine.methods.base import Trainable
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.optimizers.base import elementwise
from engine.plan.schedules import SCHEDULES
from engine.plan.schema import Optimizer, Plan
from engine.train import checkpoint, loop, optimizer_state
from engine.train.ema import Average, OptimizerAverage, average_of
from engine.train.objective import sample_losses
from engine.train.optimizers import make_optimizer, schedule_factor, set_learning_rates, update_of
from engine.train.optimizers.update import RestoringUpdate, Update
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

ODD = replace(
    OPTIMIZERS["adamw"],
    name="odd",
    title="Odd",
    builder="tests.train.odd_optimizer",
    state_bytes=elementwise(9),
)


@pytest.fixture(autouse=True)
def _odd_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "odd", ODD)


def plan_of(base: Path, pictures: Path, name: str, **changes: object) -> Plan:
    """Two learning rates (the text encoder's is half), warm-up and an average."""
    rate = OPTIMIZERS[name].learning_rate or 1e-3
    changes = {"train__learning_rate": rate, "train__warmup": 2, "lora__text_encoder": True, **changes}
    plan = quick_plan(base, pictures, **changes)
    return plan.model_copy(
        update={"optimizer": Optimizer.model_construct(**{**dict(Optimizer()), "name": name})}
    )


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
        **{name: (value.dtype, value.numpy().tobytes()) for name, value in tensors.items()},
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


@pytest.mark.parametrize("name", [*OPTIMIZERS, "odd"])
def test_a_run_of_three_steps_and_three_is_one_of_six_bit_for_bit(
    small_sd1: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    ema = 0.0 if name == "odd" else 0.9
    plan = plan_of(small_sd1, pictures, name, train__schedule="cosine", train__ema=ema)
    straight = prepared(plan, tmp_path / "cache")
    assert len({group["initial_lr"] for group in straight.loop.optimizer.param_groups}) == 2
    run_steps(straight, until=3)
    other = resumed(straight, plan, tmp_path)
    before = everything(straight)
    assert everything(other) == before
    losses = [report.loss for report in run_steps(straight, start=3)]
    assert [report.loss for report in run_steps(other, start=3)] == losses
    assert everything(other) == everything(straight) != before


@dataclass
class Small:
    """Four parameters of all ranks, at two learning rates, with an average."""

    plan: Plan
    trainables: list[Trainable]
    optimizer: torch.optim.Optimizer
    update: Update
    average: Average

    @classmethod
    def of(cls, plan: Plan) -> Small:
        draw = torch.Generator().manual_seed(3)
        shapes: list[tuple[int, ...]] = [(5,), (4, 6), (3, 2), (4, 3, 3, 3)]
        rates = (None, None, plan.train.learning_rate / 2, plan.train.learning_rate / 2)
        trainables = [
            Trainable(f"p{at}", torch.nn.Parameter(torch.randn(shape, generator=draw)), "unet", rate, at > 0)
            for at, (shape, rate) in enumerate(zip(shapes, rates, strict=True))
        ]
        optimizer = make_optimizer(trainables, plan)
        average = average_of(trainables, optimizer, 0.0 if plan.optimizer.name == "odd" else 0.9)
        assert average is not None
        return cls(plan, trainables, optimizer, update_of(optimizer, plan, torch.device("cpu")), average)

    def step(self, number: int, factor: float = 1.0) -> None:
        set_learning_rates(self.optimizer, schedule_factor(number, self.plan.train))
        draw = torch.Generator().manual_seed(number)
        for item in self.trainables:
            item.parameter.grad = torch.randn(item.parameter.shape, generator=draw) * factor
        self.update.step(torch.tensor(float(not math.isfinite(factor))))
        self.average.update(number)

    def state(self) -> dict[str, Any]:
        self.update.settle()
        kept = optimizer_state.read(self.trainables, self.optimizer)
        values = {item.name: item.parameter.tolist() for item in self.trainables}
        averages = {name: value.tolist() for name, value in self.average.state().items()}
        tensors = {name: (value.dtype, value.tolist()) for name, value in kept.tensors.items()}
        return {"weights": values, "averages": averages, "tensors": tensors, **kept.to_json()}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", [*OPTIMIZERS, "odd"])
def test_three_updates_and_three_are_six_bit_for_bit_under_every_schedule(
    tmp_path: Path, name: str, schedule: str
) -> None:
    plan = plan_of(Path("/base"), Path("/data"), name, train__schedule=schedule)
    straight = Small.of(plan)
    for number in (1, 2, 3):
        straight.step(number)
    averages = straight.average.state()
    saved, _ = checkpoint.save(tmp_path, 3, straight.trainables, straight.optimizer, {}, averages)
    other = Small.of(plan)
    checkpoint.load(saved, other.trainables, other.optimizer)
    other.average.restore(checkpoint.load_averages(saved) or {})
    before = straight.state()
    for number in (4, 5, 6):
        straight.step(number)
        other.step(number)
    assert other.state() == straight.state() != before


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", [*OPTIMIZERS, "odd"])
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
    return [name for name in [*OPTIMIZERS, "odd"] if _skip(name) == "restore"]


def _skip(name: str) -> str:
    module = ODD.builder if name == "odd" else OPTIMIZERS[name].builder
    return str(import_module(module).skip)


@pytest.mark.parametrize("bad", [(), (1,), (2, 3), (1, 4, 5)])
@pytest.mark.parametrize("name", restoring())
def test_putting_back_leaves_what_no_step_would_have_left(name: str, bad: tuple[int, ...]) -> None:
    plan = plan_of(Path("/base"), Path("/data"), name, train__schedule="linear")
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


@pytest.mark.parametrize("name", [*OPTIMIZERS])
def test_the_row_says_how_many_bytes_the_state_takes(name: str) -> None:
    made = Small.of(plan_of(Path("/base"), Path("/data"), name))
    made.step(1)
    for item in made.trainables:
        state = made.optimizer.state[item.parameter]
        tensors = [value for key, value in state.items() if isinstance(value, Tensor) and key != "step"]
        size = sum(value.numel() * value.element_size() for value in tensors)
        assert size == OPTIMIZERS[name].state_bytes(tuple(item.parameter.shape))


def test_a_missing_package_is_told_with_the_command_that_installs_it(
    small_sd1: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(UserError, match="prodigyopt") as caught:
        make_optimizer([], plan_of(small_sd1, pictures, "prodigy"))
    assert caught.value.fix == pip_install("prodigyopt>=1.1.2,<2")
