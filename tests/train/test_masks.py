"""Masks weigh the loss: nothing is learnt outside of one, and what they do not touch keeps every bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import open_training
from engine.plan.schema import Plan
from engine.train.objective import sample_losses
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

SIDE = 64


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Six pictures, of which the first has no mask; the left half of the others is masked in, unevenly."""
    folder = write_pictures(tmp_path / "masked")
    (folder / "masks").mkdir()
    for index in range(1, 6):
        array = np.zeros((SIDE, SIDE), dtype=np.uint8)
        array[:, :32] = 255
        array[:, 32 : 32 + 8 * (index % 2)] = 51
        Image.fromarray(array).save(folder / "masks" / f"{index:02d}.png")
    return folder


def losses(made: Prepared) -> list[float]:
    return [report.loss for report in run_steps(made)]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def cached(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*.safetensors")}


def test_without_masks_all_is_as_it_was(small_sd1: Path, masked: Path, tmp_path: Path) -> None:
    plain = write_pictures(tmp_path / "plain")
    one = prepared(quick_plan(small_sd1, plain), tmp_path / "one")
    off = prepared(quick_plan(small_sd1, masked, data__unmasked_weight=0.0), tmp_path / "off")
    assert next(iter(off.feed.step(1, 2))).weights.shape == (2,)
    assert losses(one) == losses(off) and same(weights(one), weights(off))
    assert cached(tmp_path / "one") == cached(tmp_path / "off")


def test_masks_change_the_weights_of_the_loss_and_nothing_else(
    small_sd1: Path, masked: Path, tmp_path: Path
) -> None:
    whole = prepared(quick_plan(small_sd1, masked), tmp_path / "cache")
    made = prepared(
        quick_plan(small_sd1, masked, data__masks="files", data__unmasked_weight=0.25), tmp_path / "cache"
    )
    for step in range(1, 7):
        (plain,), (batch,) = whole.feed.step(step, 2), made.feed.step(step, 2)
        assert torch.equal(plain.mean, batch.mean) and torch.equal(plain.std, batch.std)
        assert batch.weights.shape == (2, 1, 8, 8)
        for row, weight in zip(made.feed.order.batch(step - 1), batch.weights, strict=True):
            wanted = torch.full((1, 8, 8), 0.25)
            wanted[:, :, :4] = 1.0
            if row % 2:
                wanted[:, :, 4] = 0.2 + 0.25 * 0.8
            torch.testing.assert_close(weight, torch.ones(1, 8, 8) if row == 0 else wanted)


def test_outside_of_a_mask_loss_and_gradient_are_exactly_0(
    small_sd1: Path, masked: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, masked, data__masks="files", data__unmasked_weight=0.0)
    made = prepared(plan, tmp_path / "cache")
    schedule = made.adapted.family.schedule
    for step in range(1, 5):
        (batch,) = made.feed.step(step, 2)
        prediction = torch.randn(batch.mean.shape, requires_grad=True)
        found = sample_losses(
            prediction, batch.mean, torch.tensor([10, 900]), schedule, plan.objective, batch.weights
        )
        torch.autograd.backward(found.sum())
        assert prediction.grad is not None
        outside = (batch.weights == 0).expand_as(prediction)
        assert (prediction.grad[outside] == 0).all() and (prediction.grad[~outside] != 0).all()
        changed = torch.where(outside, prediction + 100, prediction)
        again = sample_losses(
            changed, batch.mean, torch.tensor([10, 900]), schedule, plan.objective, batch.weights
        )
        assert torch.equal(found, again), "what lies outside has no part in the loss"


def test_black_masks_teach_nothing_and_are_named(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "black", 2)
    for index in range(2):
        Image.new("L", (SIDE, SIDE)).save(folder / f"{index:02d}_mask.png")
    plan = quick_plan(
        small_sd1, folder, data__masks="files", data__unmasked_weight=0.0, optimizer__weight_decay=0.0
    )
    made = prepared(plan, tmp_path / "cache")
    before = weights(made)
    assert losses(made) == [0.0] * 6 and same(before, weights(made))
    assert made.warnings.count("mask-black") == 1


def test_a_mask_is_mirrored_and_cropped_with_its_picture(small_sd1: Path, tmp_path: Path) -> None:
    """The pictures are their own masks, so that the weights can be read off the picture that is shown."""
    folder = tmp_path / "own"
    folder.mkdir()
    for index in range(4):
        array = np.zeros((96, 128), dtype=np.uint8)
        array[8 * index : 8 * index + 40, 16 * index : 16 * index + 64] = 255
        Image.fromarray(np.repeat(array[:, :, None], 3, axis=2)).save(folder / f"{index}.png")
        Image.fromarray(array).save(folder / f"{index}_mask.png")
    for live in (True, False):
        plan = quick_plan(
            small_sd1,
            folder,
            data__masks="files",
            data__unmasked_weight=0.0,
            data__bucket=False,
            data__flip=True,
            data__random_crop=live,
            train__steps=8,
        )
        made = prepared(plan, tmp_path / "cache")
        seen = set()
        for step in range(1, 9):
            (batch,) = made.feed.step(step, 2)
            for row, size, weight in zip(
                made.feed.order.batch(step - 1), batch.sizes, batch.weights, strict=True
            ):
                item = made.feed.items[row]
                with Image.open(item.path) as image:
                    grey = image.convert("L")
                for flip in (False, True):
                    turned = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else grey
                    top, left = size.crop
                    scaled = turned.resize((85, 64), Image.Resampling.BOX, box=(0, 0, 128, 96))
                    cut = np.asarray(scaled)[top : top + 64, left : left + 64] / 255
                    wanted = cut.reshape(8, 8, 8, 8).mean(axis=(1, 3))
                    if np.abs(wanted - weight[0].numpy()).max() < 0.13:
                        seen.add(flip)
                        break
                else:
                    raise AssertionError((live, step, row, weight))
        assert seen == {False, True}


@pytest.mark.parametrize("live", [False, True])
def test_three_steps_and_three_are_six_and_pieces_add_up(
    live: bool, small_sd1: Path, masked: Path, tmp_path: Path
) -> None:
    def plan_of(**changes: object) -> Plan:
        return quick_plan(
            small_sd1,
            masked,
            data__masks="files",
            data__random_crop=live,
            data__flip=True,
            train__steps=6,
            **changes,
        )

    straight = open_training(plan_of(), cache=tmp_path / "cache", checked=True)
    straight.train()
    for steps in (3, 3):
        with open_training(plan_of(), tmp_path / "run", cache=tmp_path / "cache", checked=True) as made:
            made.train(steps)
            made.save()
    assert made.losses == straight.losses[3:]
    ends = zip(made.adapted.trainables, straight.adapted.trainables, strict=True)
    assert all(torch.equal(one.parameter, other.parameter) for one, other in ends)

    plan = plan_of(train__batch_size=4)
    whole, split = (prepared(plan, tmp_path / "cache") for _ in range(2))
    for step in range(1, 4):
        (batch,) = whole.feed.step(step, 4)
        pieces = list(split.feed.step(step, 1))
        assert torch.equal(batch.weights, torch.cat([piece.weights for piece in pieces]))
        assert torch.equal(batch.mean, torch.cat([piece.mean for piece in pieces])) or live


def test_masks_are_cut_once_and_found_again(
    small_sd1: Path, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, masked, data__masks="files")
    first = losses(prepared(plan, tmp_path / "cache"))
    kept = cached(tmp_path / "cache")
    read: list[object] = []
    monkeypatch.setattr("engine.dataset.masks.load_rgb", lambda *given, **named: read.append(given))
    assert losses(prepared(plan, tmp_path / "cache")) == first and not read
    lighter = quick_plan(small_sd1, masked, data__masks="files", data__unmasked_weight=0.9)
    assert losses(prepared(lighter, tmp_path / "cache")) != first
    assert cached(tmp_path / "cache") == kept, "what a mask leaves out weighs is no part of what is kept"


def test_sets_have_their_own_masks_and_weights(small_sd1: Path, masked: Path, tmp_path: Path) -> None:
    other = write_pictures(tmp_path / "other", 3, seed=5)
    for index in range(3):
        Image.new("L", (SIDE, SIDE)).save(other / f"{index:02d}-masklabel.png")
    sets = [
        {"path": str(masked), "masks": "off"},
        {"path": str(other), "unmasked_weight": 0.5, "weight": 0.5, "repeats": 2},
    ]
    plan = quick_plan(
        small_sd1, tmp_path, data__path="", data__sets=sets, data__masks="files", train__steps=9
    )
    made = prepared(plan, tmp_path / "cache")
    for step in range(1, 7):
        (batch,) = made.feed.step(step, 2)
        for row, weight in zip(made.feed.order.batch(step - 1), batch.weights, strict=True):
            assert (weight == (1.0 if row < 6 else 0.25)).all()


def test_pairs_with_conditions_take_masks_too(small_sd1: Path, masked: Path, tmp_path: Path) -> None:
    maps = write_conditions(masked, tmp_path / "maps")
    plan = quick_plan(
        small_sd1, masked, method="controlnet", controlnet__condition_path=str(maps), data__masks="files"
    )
    made = prepared(plan, tmp_path / "cache")
    (batch,) = made.feed.step(1, 2)
    assert batch.weights.shape == (2, 1, 8, 8) and batch.extra["control"].shape[0] == 2
    assert all(np.isfinite(losses(made)))


def test_a_validation_weighs_as_the_training_does(small_sd1: Path, masked: Path, tmp_path: Path) -> None:
    asked: dict[str, object] = {
        "validation__every": 3,
        "validation__path": str(masked),
        "validation__bands": 1,
    }
    found = {}
    for masks in ("off", "files"):
        plan = quick_plan(small_sd1, masked, data__masks=masks, data__unmasked_weight=0.0, **asked)
        found[masks] = open_training(plan, cache=tmp_path / "cache", checked=True).validate().loss
    assert 0.4 * found["off"] < found["files"] < 0.85 * found["off"]
