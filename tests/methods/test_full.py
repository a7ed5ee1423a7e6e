"""Full fine-tuning: what trains, at which rate, what stays, and that the maths is plain torch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import UserError
from engine.methods.full import Full
from engine.train import checkpoint
from engine.train.setup import load_plan_family
from tests.methods.plain import Plain, samples
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

RATE, TEXT_RATE, DECAY, SEED = 1e-4, 3e-5, 0.01, 7


def _groups(plain: Plain) -> dict[str, torch.nn.Parameter]:
    named = {f"unet.{name}": value for name, value in plain.unet.named_parameters()}
    return named | {f"text_encoder.{name}": value for name, value in plain.encoder.named_parameters()}


def _optimizer(named: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    groups = []
    for part, rate in (("unet.", RATE), ("text_encoder.", TEXT_RATE)):
        for decay, wide in ((DECAY, True), (0.0, False)):
            params = [v for n, v in named.items() if n.startswith(part) and (v.ndim > 1) is wide]
            groups.append({"params": params, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def test_steps_equal_plain_torch(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=5)
    made = prepared(
        quick_plan(
            small_sd1,
            folder,
            method="full",
            seed=SEED,
            train__steps=3,
            train__learning_rate=RATE,
            full__text_encoder=True,
            full__text_encoder_learning_rate=TEXT_RATE,
            data__caption_dropout=0.0,
        ),
        tmp_path / "cache",
    )
    plain = Plain.load(small_sd1, SEED)
    named = _groups(plain)
    optimizer = _optimizer(named)
    for step, (report,) in enumerate(made.loop.run(0, lambda step: True), 1):
        optimizer.zero_grad()
        rows = [int(row) for row in made.feed.order.batch(step - 1)]
        loss = plain.loss(step, samples(folder, rows))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
        optimizer.step()
        assert abs(report.loss - float(loss)) < 1e-6
        ours = {item.name: item.parameter for item in made.adapted.trainables}
        assert ours.keys() == named.keys()
        for name, value in ours.items():
            wanted = named[name].grad
            assert (value.grad is None) == (wanted is None), name
            assert value.grad is None or wanted is None or torch.allclose(value.grad, wanted, atol=1e-6), name


def _plan_family(made: Prepared) -> dict[str, torch.Tensor]:
    family = load_plan_family(made.plan)
    return {
        f"{part}.{name}": value.float()
        for part, module in family.parts.items()
        for name, value in module.state_dict().items()
    }


def test_frozen_blocks_and_parts_stay_bit_equal(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = quick_plan(
        small_sd1,
        pictures,
        method="full",
        train__steps=2,
        full__freeze=["IN00", "IN01", "MID", "time", "out"],
    )
    made = prepared(plan, tmp_path / "cache")
    before = _plan_family(made)
    run_steps(made)
    names = set(weights(made))
    frozen = ("unet.conv_in", "unet.down_blocks.0.resnets.0", "unet.mid_block", "unet.time_embedding",
              "unet.conv_norm_out", "unet.conv_out", "vae", "text_encoder")  # fmt: skip
    assert names and not [name for name in names if name.startswith(frozen)]
    for part, module in made.adapted.family.parts.items():
        for name, value in module.named_parameters():
            full = f"{part}.{name}"
            assert torch.equal(value.detach().float(), before[full]) == (full not in names), full


def test_every_block_frozen_or_a_wrong_name_is_refused(sd1_folder: Path, pictures: Path) -> None:
    family = load_plan_family(quick_plan(sd1_folder, pictures))
    with pytest.raises(UserError, match="no block IN12"):
        Full(None, ["IN12"]).prepare(family)
    names = [*(f"IN{n:02d}" for n in range(12)), "MID", *(f"OUT{n:02d}" for n in range(12)), "time", "out"]
    with pytest.raises(UserError, match="every block"):
        Full(None, names).prepare(family)


def test_resume_is_bit_exact_with_its_average(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = quick_plan(
        small_sd1, pictures, method="full", train__steps=4, train__ema=0.9, full__text_encoder=True
    )
    whole = prepared(plan, tmp_path / "cache")
    run_steps(whole)
    first = prepared(plan, tmp_path / "cache")
    run_steps(first, until=2)
    assert first.loop.ema is not None and whole.loop.ema is not None
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints",
        2,
        first.adapted.trainables,
        first.loop.optimizer,
        state,
        first.loop.ema.state(),
    )
    second = prepared(plan, tmp_path / "cache")
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    averages = checkpoint.load_averages(saved)
    assert second.loop.ema is not None and averages is not None
    second.loop.ema.restore(averages)
    run_steps(second, start=2)
    ours, theirs = weights(second), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    average = second.loop.ema.state()
    assert all(torch.equal(average[name], value) for name, value in whole.loop.ema.state().items())


def test_the_artifact_has_what_trained_under_names_that_files_use(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, pictures, method="full", full__text_encoder=True, full__freeze=["MID"])
    made = prepared(plan, tmp_path / "cache")
    tensors = made.adapted.method.artifact(made.adapted.family).tensors
    assert len(tensors) == len(made.adapted.trainables)
    assert not [name for name in tensors if name.startswith("unet.mid_block")]
    text = [name for name in tensors if name.startswith("text_encoder.")]
    assert text and all(name.startswith("text_encoder.text_model.") for name in text)
