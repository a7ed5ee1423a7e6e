"""Weights and moments in bf16: rounded by chance and by key, exact on resume, and never moved by a skipped update."""

from __future__ import annotations

import math
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from engine import draws
from engine.plan.optimizers import OPTIMIZERS
from engine.train.ema import OptimizerAverage
from engine.train.optimizers.pieces import Pieces
from engine.train.optimizers.rounding import rounded
from engine.train.optimizers.update import RestoringUpdate
from tests.support.sessions import prepared, run_steps, weights
from tests.train.small import Small, plan_of

CPU = torch.device("cpu")
ALONE = [name for name, spec in OPTIMIZERS.items() if spec.alone]


def small(name: str, **changes: object) -> Small:
    return Small.of(plan_of(Path("/base"), Path("/data"), name, train__weights="bf16", **changes))


def test_it_rounds_to_a_neighbour_and_is_right_on_average() -> None:
    value = 1 + 0.3 / 128  # between 1 and 1 + 1/128, three tenths of the way
    bits = draws.words16(7, "test", 1, 0, (50_000,), CPU)
    found = rounded(torch.full((50_000,), value), bits).float()
    assert set(found.tolist()) == {1.0, 1 + 1 / 128}
    # The mean of 50,000 draws is off by 0.0000160 at one standard deviation.
    assert float(found.double().mean()) == pytest.approx(value, abs=6.4e-5)
    assert float(rounded(torch.full((50_000,), -value), bits).double().mean()) == pytest.approx(
        -value, abs=6.4e-5
    )


def test_what_bf16_has_and_what_is_not_finite_stay() -> None:
    exact = torch.randn(4096, generator=torch.Generator().manual_seed(1)).bfloat16()
    bits = torch.full((4096,), 65535, dtype=torch.int32)
    assert torch.equal(rounded(exact.float(), bits), exact)
    odd = torch.tensor([math.inf, -math.inf, math.nan, 0.0])
    assert rounded(odd, bits[:4]).tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(rounded(odd, bits[:4])[2]) and rounded(odd, bits[:4])[3] == 0


def test_a_change_too_small_for_bf16_counts_in_the_end() -> None:
    """An eighth of a last digit 800 times: to the nearest it would be nothing."""
    plain, by_chance = (torch.ones(64, 64).bfloat16() for _ in range(2))
    for step in range(800):
        plain = (plain.float() + 1 / 1024).bfloat16()
        bits = draws.words16(1, "test", step, 0, (64, 64), CPU)
        by_chance = rounded(by_chance.float() + 1 / 1024, bits)
    assert torch.equal(plain.float(), torch.ones(64, 64))
    assert float(by_chance.float().mean()) == pytest.approx(1 + 800 / 1024, rel=0.01)


def test_the_draws_are_keyed_and_even() -> None:
    one = draws.words16(7, "round weight", 3, 5, (100, 101), CPU)
    assert torch.equal(one, draws.words16(7, "round weight", 3, 5, (100, 101), CPU))
    for seed, purpose, step, slot in ((8, "round weight", 3, 5), (7, "x", 3, 5), (7, "round weight", 4, 5)):
        assert not torch.equal(one, draws.words16(seed, purpose, step, slot, (100, 101), CPU))
    assert not torch.equal(one, draws.words16(7, "round weight", 3, 6, (100, 101), CPU))
    assert 0 <= int(one.min()) < 40 and 65495 < int(one.max()) <= 65535
    assert float(one.double().mean()) == pytest.approx(32767.5, abs=4 * 65536 / math.sqrt(12 * 10_100))


@pytest.mark.parametrize("name", ALONE)
def test_three_updates_and_three_are_six_bit_for_bit_in_bf16(name: str, tmp_path: Path) -> None:
    straight = small(name, train__schedule="constant")
    for number in (1, 2, 3):
        straight.step(number)
    other = straight.again(tmp_path, 3)
    before = straight.state()
    for number in (4, 5, 6):
        straight.step(number)
        other.step(number)
    assert other.state() == straight.state() != before
    assert {value.dtype for value in straight.parameters} == {torch.bfloat16}
    assert all(
        entry.dtype in (torch.float32, torch.uint8) or name == "adamw_bf16"
        for state in straight.optimizer.state.values()
        for entry in state.values()
        if isinstance(entry, torch.Tensor)
    )


@pytest.mark.parametrize("restoring", [False, True])
@pytest.mark.parametrize("name", ["adamw", "adamw_bf16", "lion", "came"])
def test_a_skipped_update_leaves_bf16_as_it_was(name: str, restoring: bool) -> None:
    made = small(name)
    made.average = OptimizerAverage((), Mock())
    if restoring:
        made.update = RestoringUpdate(made.optimizer, made.update.narrow)  # type: ignore[attr-defined]
    for number in (1, 2):
        made.step(number)
    before = made.state()
    made.step(3, math.nan)
    assert made.state() == before


def test_weights_in_bf16_follow_those_in_fp32() -> None:
    wide = Small.of(plan_of(Path("/base"), Path("/data"), "adamw", train__learning_rate=0.03))
    narrow = small("adamw", train__learning_rate=0.03)
    start = [value.detach().float() for value in narrow.parameters]
    for one, two in zip(wide.parameters, start, strict=True):
        one.data.copy_(two)
    for number in range(1, 31):
        wide.step(number)
        narrow.step(number)
    # Each update adds about 0.4 of a last digit by chance, 30 of them twice a digit: 0.13 of the way was measured.
    way = torch.cat([(one.detach() - two).flatten() for one, two in zip(wide.parameters, start, strict=True)])
    off = torch.cat(
        [
            (one.detach().float() - two).flatten()
            for one, two in zip(narrow.parameters, wide.parameters, strict=True)
        ]
    )
    assert float(off.norm() / way.norm()) < 0.2
    assert abs(float(off.mean())) < 0.01 * float(way.abs().mean())


def test_memory_that_ends_a_piece_leaves_its_bf16_and_the_rest_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.train.optimizers.pieces.WIDENED", 100)
    straight, struck = small("adamw_bf16"), small("adamw_bf16")
    for made in (straight, struck):
        made.step(1)
        made.prepare(2)
    assert isinstance(struck.update.pieces, Pieces)  # type: ignore[attr-defined]
    real, calls = struck.optimizer.step, []

    def step() -> None:
        calls.append(len(struck.optimizer.param_groups[0]["params"]))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real()

    struck.optimizer.step = step  # type: ignore[assignment, method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        struck.update.step(torch.zeros(()))
    assert struck.update.done == 1 and not struck.update.torn
    assert {value.dtype for value in struck.parameters} == {torch.bfloat16}
    struck.update.step(torch.zeros(()))
    straight.update.step(torch.zeros(()))
    assert struck.state() == straight.state()


def test_a_run_of_three_steps_and_three_is_one_of_six_in_bf16(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    from tests.train.test_optimizers import everything, resumed

    changes = {"train__weights": "bf16", "train__precision": "bf16", "train__ema": 0.9}
    plan = plan_of(small_sd1, pictures, "adamw", **changes)
    straight = prepared(plan, tmp_path / "cache")
    assert {value.dtype for value in weights(straight).values()} == {torch.bfloat16}
    run_steps(straight, until=3)
    other = resumed(straight, plan, tmp_path)
    before = everything(straight)
    assert everything(other) == before
    losses = [report.loss for report in run_steps(straight, start=3)]
    assert [report.loss for report in run_steps(other, start=3)] == losses
    assert everything(other) == everything(straight) != before
    assert straight.loop.ema is not None
    assert {value.dtype for value in straight.loop.ema.state().values()} == {torch.float32}
