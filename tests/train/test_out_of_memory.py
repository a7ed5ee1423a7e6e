"""Memory that runs out at any point of an update: the update is done once, or the run knows that it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.train.loop import Loop
from engine.train.optimizers.pieces import Pieces
from engine.train.optimizers.update import RestoringUpdate
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

Fault = Callable[[Prepared, Callable[[], None]], None]


class Once:
    """Raises OutOfMemoryError at the n-th call, and never again."""

    def __init__(self, at: int = 1) -> None:
        self.left = at

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")


def _before(owner: Any, name: str, fault: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        fault()
        return real(*given, **named)

    setattr(owner, name, wrapped)


def _in_unscale(made: Prepared, fault: Callable[[], None]) -> None:
    real = made.loop.scaler.unscale_

    def unscale(optimizer: torch.optim.Optimizer) -> None:
        real(optimizer)
        fault()

    made.loop.scaler.unscale_ = unscale  # type: ignore[method-assign]


def _in_norm(made: Prepared, fault: Callable[[], None]) -> None:
    _before(torch.nn.utils, "clip_grads_with_norm_", fault)


def _before_groups(made: Prepared, fault: Callable[[], None]) -> None:
    _before(made.loop.optimizer, "step", fault)


FAULTS: dict[str, tuple[Fault, int]] = {
    "unscale": (_in_unscale, 1),
    "clip": (_in_norm, 1),
    "first group": (_before_groups, 1),
    "second group": (_before_groups, 2),
}


def _made(base: Path, pictures: Path, cache: Path) -> Prepared:
    """A session with a scaler, as fp16 has it, and two groups."""
    made = prepared(quick_plan(base, pictures, train__steps=3), cache)
    half = len(made.adapted.trainables) // 2
    items = [
        replace(item, learning_rate=5e-4 if at < half else None)
        for at, item in enumerate(made.adapted.trainables)
    ]
    loop = made.loop
    made.loop = Loop(
        loop.plan, loop.family, loop.method, items, loop.feed, loop.device, loop.autocast, loop.warn
    )
    made.loop.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert len(made.loop.optimizer.param_groups) == 2
    return made


@pytest.mark.parametrize("limit", [2, 1])
@pytest.mark.parametrize("name", ["first group", "second group"])
def test_a_step_that_memory_ended_is_gone_on_with_and_no_group_moves_twice(
    name: str, limit: int, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    straight, struck = (_made(small_sd1, pictures, tmp_path / "cache") for _ in range(2))
    straight.loop.limit = struck.loop.limit = limit
    fault, at = FAULTS[name]
    fault(struck, Once(at))
    losses = [[report.loss for report in run_steps(made)] for made in (struck, straight)]
    assert losses[0] == losses[1]
    one, other = weights(struck), weights(straight)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert struck.loop.limit == limit
    assert struck.loop.whole


def test_what_a_method_does_after_an_update_is_tried_again_without_the_gradients(
    sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    straight, struck = (_made(sd1_folder, pictures, tmp_path / "cache") for _ in range(2))
    held: list[bool] = []
    fault = Once(2)

    def failing() -> None:
        held.append(any(value.grad is not None for value in struck.loop.parameters))
        fault()

    _before(struck.loop.method, "after_step", failing)
    assert [report.loss for report in run_steps(struck)] == [report.loss for report in run_steps(straight)]
    assert held == [True, True, False, True]
    assert struck.loop.whole
    one, other = weights(struck), weights(straight)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["unscale", "clip"])
def test_gradients_that_memory_ended_are_made_anew_in_smaller_pieces(
    name: str, small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, struck = (_made(small_sd1, pictures, tmp_path / "cache") for _ in range(2))
    straight.loop.limit = 1
    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", torch.nn.utils.clip_grads_with_norm_)
    run_steps(straight)
    fault, at = FAULTS[name]
    fault(struck, Once(at))
    run_steps(struck)
    one, other = weights(struck), weights(straight)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert struck.loop.limit == 1
    assert struck.loop.scaler.get_scale() == straight.loop.scaler.get_scale()


def test_at_one_sample_the_error_leaves_a_whole_state(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    straight, struck = (_made(small_sd1, pictures, tmp_path / "cache") for _ in range(2))
    run_steps(straight, until=1)
    struck.loop.limit = 1
    run_steps(struck, until=1)
    before = weights(struck)
    _before(struck.loop.scaler, "scale", Once())
    with pytest.raises(torch.OutOfMemoryError):
        run_steps(struck, start=1)
    assert struck.loop.whole
    after = weights(struck)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_step_torn_in_the_middle_is_known_as_such(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(small_sd1, pictures, tmp_path / "cache")
    real, fault = made.loop.optimizer.step, Once()

    def step() -> None:
        real()
        fault()

    made.loop.optimizer.step = step  # type: ignore[assignment, method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        run_steps(made)
    assert made.loop.update.torn
    assert not made.loop.whole


def _parameters() -> list[torch.nn.Parameter]:
    values = [torch.nn.Parameter(torch.full((3,), float(at))) for at in range(1, 4)]
    for value in values:
        value.grad = torch.ones_like(value)
    return values


def test_moments_that_were_made_for_a_group_that_did_not_fit_are_gone() -> None:
    values = _parameters()
    optimizer = torch.optim.AdamW(values, lr=0.1)
    pieces = Pieces(optimizer, by_group=True)
    real, fault = optimizer.step, Once()

    def step() -> None:
        optimizer.state[values[0]]["exp_avg"] = torch.zeros(3)
        fault()
        optimizer.state.pop(values[0])
        real()

    optimizer.step = step  # type: ignore[assignment, method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        pieces.step()
    assert not optimizer.state
    assert not pieces.torn
    pieces.step()
    assert len(optimizer.state) == 3


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
def test_one_parameter_at_a_time_each_is_put_back_and_done_once(at: int, after: bool) -> None:
    values, same = _parameters(), _parameters()
    optimizer, other = (torch.optim.AdamW(each, lr=0.1) for each in (values, same))
    update, straight = RestoringUpdate(optimizer), RestoringUpdate(other)
    flag = torch.zeros(())
    real, fault = optimizer.step, Once(at)

    def step() -> None:
        if after:
            real()
        fault()
        if not after:
            real()

    optimizer.step = step  # type: ignore[assignment, method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        update.step(flag)
    assert update.done == at - 1
    assert not update.torn
    for _ in range(2):
        update.step(flag)
        straight.step(flag)
    update.settle()
    assert all(torch.equal(one, two) for one, two in zip(values, same, strict=True))
