"""The loop: what one update is, whatever the batch is split into, and what must never reach the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.train import checkpoint, loop
from engine.train.objective import sample_losses
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def made(small_sd1: Path, pictures: Path, tmp_path: Path) -> Prepared:
    return prepared(quick_plan(small_sd1, pictures), tmp_path / "cache")


def test_only_the_trainables_change(made: Prepared) -> None:
    trained = {id(item.parameter) for item in made.adapted.trainables}
    frozen = {
        f"{part}.{name}": value
        for part, module in made.adapted.family.parts.items()
        for name, value in module.named_parameters()
        if id(value) not in trained
    }
    before, learned = {name: value.clone() for name, value in frozen.items()}, weights(made)
    run_steps(made)
    assert len(frozen) > 500
    assert _equal({name: value.detach() for name, value in frozen.items()}, before)
    changed = [name for name, value in weights(made).items() if not torch.equal(value, learned[name])]
    assert len(changed) == len(learned), "every LoRA tensor moves"


def test_the_same_plan_twice_is_bit_equal(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = quick_plan(small_sd1, pictures, data__flip=True, lora__dropout=0.2, data__caption_dropout=0.4)
    first, second = prepared(plan, tmp_path / "one"), prepared(plan, tmp_path / "two")
    losses = [report.loss for report in run_steps(first)]
    torch.manual_seed(99)
    torch.rand(17)
    assert [report.loss for report in run_steps(second)] == losses
    assert _equal(weights(first), weights(second))


def test_a_smaller_limit_changes_no_draw_and_no_gradient(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    # Compared before the optimiser: AdamW divides by the gradient's size, so a last bit of a tiny one would decide.
    plan = quick_plan(small_sd1, pictures, train__batch_size=4, train__steps=3, train__clip_norm=0.0)
    whole, split = prepared(plan, tmp_path / "cache"), prepared(plan, tmp_path / "cache")
    split.loop.limit = 1
    for step in (1, 2, 3):
        one, other = (run_steps(made, step - 1, step)[0].loss for made in (whole, split))
        assert abs(one - other) < 1e-6
        gradients, pieces = (
            torch.cat([value.grad.flatten() for value in made.loop.parameters if value.grad is not None])
            for made in (whole, split)
        )
        assert float((gradients - pieces).norm() / gradients.norm()) < 1e-5
        learned = weights(whole)
        with torch.no_grad():
            for item in split.adapted.trainables:
                item.parameter.copy_(learned[item.name])


def test_accumulation_equals_a_larger_batch(
    small_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.pictures import write_pictures

    folder = write_pictures(tmp_path / "square", count=4)
    common = {"train__steps": 1, "data__caption_dropout": 0.0}
    one = prepared(quick_plan(small_sd1, folder, train__batch_size=4, **common), tmp_path / "cache")
    plan = quick_plan(small_sd1, folder, train__batch_size=2, train__gradient_accumulation=2, **common)
    two = prepared(plan, tmp_path / "cache")
    rows = [[int(row) for row in one.feed.order.batch(0)]]
    order = [int(row) for index in range(2) for row in two.feed.order.batch(index)]
    assert sorted(rows[0]) == sorted(order)
    monkeypatch.setattr(
        two.feed.order, "batch", lambda index: one.feed.order.batch(0)[2 * index : 2 * index + 2]
    )
    assert abs(run_steps(one)[0].loss - run_steps(two)[0].loss) < 1e-6


def test_running_out_of_memory_halves_the_pieces_and_keeps_the_batch(
    made: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sample_losses
    refused: list[int] = []

    def small_only(prediction: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(prediction) > 1:
            refused.append(len(prediction))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(prediction, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "sample_losses", small_only)
    reports = run_steps(made)
    assert refused == [2]
    assert made.warnings == ["batch-split"]
    assert [report.step for report in reports] == list(range(1, 7))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_weights_or_moments(
    made: Prepared, poison: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps(made, until=2)
    before = weights(made)
    moments = {k: v.clone() for k, v in _moments(made).items()}
    real = sample_losses
    monkeypatch.setattr(loop, "sample_losses", lambda *given: real(*given) * poison)
    (report,) = run_steps(made, start=2, until=3)
    assert report.skipped
    assert _equal(weights(made), before)
    assert _equal(_moments(made), moments)
    monkeypatch.setattr(loop, "sample_losses", real)
    assert not run_steps(made, start=3, until=4)[0].skipped
    assert not _equal(weights(made), before)


def _moments(made: Prepared) -> dict[str, torch.Tensor]:
    state = made.loop.optimizer.state
    return {
        f"{item.name}.{name}": value
        for item in made.adapted.trainables
        for name, value in state[item.parameter].items()
    }


@pytest.mark.parametrize("start", [1, 3, 5])
def test_resume_is_bit_exact(small_sd1: Path, pictures: Path, tmp_path: Path, start: int) -> None:
    plan = quick_plan(
        small_sd1,
        pictures,
        train__schedule="cosine",
        train__warmup=2,
        lora__text_encoder=True,
        lora__dropout=0.1,
    )
    straight = prepared(plan, tmp_path / "cache")
    losses = [report.loss for report in run_steps(straight)]
    first = prepared(plan, tmp_path / "cache")
    run_steps(first, until=start)
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints",
        start,
        first.adapted.trainables,
        first.loop.optimizer,
        {"loop": first.loop.state()},
    )
    second = prepared(plan, tmp_path / "cache")
    state = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(state["loop"])
    assert [report.loss for report in run_steps(second, start=start)] == losses[start:]
    assert _equal(weights(second), weights(straight))
    assert _equal(_moments(second), _moments(straight))


def test_bf16_trains_fp32_masters_and_stays_finite(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = prepared(quick_plan(small_sd1, pictures, train__precision="bf16"), tmp_path / "cache")
    assert {item.parameter.dtype for item in made.adapted.trainables} == {torch.float32}
    assert next(made.adapted.family.denoiser.parameters()).dtype is torch.bfloat16
    assert not any(report.skipped for report in run_steps(made))


def test_gradient_checkpointing_computes_the_same(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    changes = {"lora__text_encoder": True, "lora__dropout": 0.1, "train__steps": 3}
    plain = prepared(quick_plan(small_sd1, pictures, **changes), tmp_path / "cache")
    thrifty = prepared(
        quick_plan(small_sd1, pictures, hardware__gradient_checkpointing=True, **changes), tmp_path / "cache"
    )
    pairs = zip(run_steps(plain), run_steps(thrifty), strict=True)
    assert all(one.loss == other.loss for one, other in pairs)
