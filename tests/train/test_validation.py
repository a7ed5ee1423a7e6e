"""Validation: held-out pictures are never trained on, draws stay the same, and the training does not notice."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import open_training
from engine.dataset.held_out import apart
from engine.errors import UserError
from engine.families.base import Geometry
from engine.keys import uniform
from engine.plan.schema import Plan
from engine.planning.data import scan_data, trained_on, validated_on
from engine.train.training import Training
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.support.shards import pack

SHARE: dict[str, object] = {"validation__every": 2, "validation__share": 0.34, "data__caption_dropout": 0.3}


def opened(plan: Plan, cache: Path, run: Path | None = None) -> Training:
    return open_training(plan, run, cache=cache, checked=True)


def bits(made: Training) -> dict[str, bytes]:
    return {item.name: item.parameter.detach().float().numpy().tobytes() for item in made.adapted.trainables}


def trained_names(made: Training, steps: int = 12) -> set[str]:
    """The pictures that the first steps of the feed show."""
    feed: Any = made.feed
    size, count = made.plan.train.batch_size, made.plan.train.gradient_accumulation
    return {
        feed.items[int(row)].rel
        for step in range(steps)
        for micro in range(count)
        for row in feed.order.batch(step * count + micro)[:size]
    }


def test_held_out_pictures_follow_from_their_names_alone(pictures: Path, small_sd1: Path) -> None:
    plan = quick_plan(small_sd1, pictures, **SHARE)
    items = scan_data(plan).items
    trained, held = apart(items, 0.34, 64, 1234)
    assert len(held) == 2 and len(trained) == 4
    again = apart(tuple(reversed(items)), 0.34, 64, 1234)
    assert again[1] == held and again[0] == tuple(reversed(trained))
    assert apart(items, 0.34, 64, 4321)[1] != held, "another seed holds out others"
    assert apart(items, 0.34, 1, 1234)[1] == held[:1]
    assert apart(items, 0.01, 64, 1234) == (items, ())
    assert apart(items[:1], 0.5, 64, 1234) == (items[:1], ()), "never the last picture of a set"


def test_each_set_gives_its_share(tmp_path: Path, small_sd1: Path) -> None:
    cats, dogs = write_pictures(tmp_path / "cats", 8), write_pictures(tmp_path / "dogs", 4, seed=5)
    sets = [{"path": str(cats)}, {"path": str(dogs), "repeats": 3}]
    plan = quick_plan(small_sd1, Path(), data__sets=sets, validation__every=1, validation__share=0.25)
    report = scan_data(plan)
    held = validated_on(plan, report)
    assert sorted(item.folder.name for item in held) == ["cats", "cats", "dogs"]
    assert {item.path for item in held}.isdisjoint(item.path for item in trained_on(plan, report))


def test_a_held_out_picture_gets_no_step(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    plan = quick_plan(small_sd1, pictures, **SHARE, train__steps=4)
    made = opened(plan, tmp_path / "cache")
    held = {item.rel for item in validated_on(plan, made.data)}
    shown = trained_names(made)
    assert len(held) == 2 and len(shown) == 4
    assert not held & shown
    assert made.validate().pictures == 2
    # It teaches nothing: with another picture in its place the weights are the same.
    made.train()
    from PIL import Image

    for name in held:
        Image.new("RGB", (64, 64), "red").save(pictures / name)
    other = opened(plan, tmp_path / "cache")
    other.train()
    assert bits(other) == bits(made)
    assert other.validate().loss != made.validate().loss


def test_equal_weights_give_equal_bits(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    plan = quick_plan(small_sd1, pictures, **SHARE, validation__draws=2, lora__dropout=0.5)
    made = opened(plan, tmp_path / "cache")
    made.train(2)
    first, before = made.validate(), bits(made)
    assert made.validate() == first
    assert bits(made) == before
    made.train(1)
    later = made.validate()
    assert later.loss != first.loss and later.step == 3
    # In another process, after other steps and whatever the folder's order is.
    saved = made.save(tmp_path / "saved")
    made.train(1)
    made.resume(saved)
    assert made.validate() == later
    assert opened(plan, tmp_path / "other cache").validate().bands.keys() == first.bands.keys()


def test_the_training_is_the_same_without_validation(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    own = write_pictures(tmp_path / "own", 3, seed=9)
    changes: dict[str, object] = {"lora__dropout": 0.3, "train__ema": 0.9, "train__steps": 4}
    plain = opened(quick_plan(small_sd1, pictures, **changes), tmp_path / "cache")
    plain.train()
    plan = quick_plan(
        small_sd1, pictures, **changes, validation__every=1, validation__path=str(own), validation__draws=2
    )
    made = opened(plan, tmp_path / "cache")
    for _ in range(4):
        made.validate()
        made.train(1)
    assert made.losses == plain.losses
    assert bits(made) == bits(plain)


def test_three_and_three_are_six(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    plan = quick_plan(small_sd1, pictures, **SHARE)
    straight = opened(plan, tmp_path / "cache")
    straight.train()
    told = straight.validate()
    for steps in (3, 3):
        with opened(plan, tmp_path / "cache", tmp_path / "run") as made:
            made.train(steps)
            made.validate()
            made.save()
    assert bits(made) == bits(straight)
    assert made.validate() == told


def _by_hand(made: Training, band: int, bands: int) -> float:
    """The mean squared error of a band without the code that is tested: one picture at a time, one draw each."""
    from engine import draws
    from engine.train.latents import pixels

    plan, family = made.plan, made.adapted.family
    own, losses = plan.validation, []
    for item in validated_on(plan, made.data):
        mean, std = family.encode_image(pixels(item, False, (0.5, 0.5))[None])
        shape = tuple(mean.shape[1:])
        latents = mean + std * draws.normal(own.seed, f"validation-latent {item.rel}", 0, [band], shape)
        noise = draws.normal(own.seed, f"validation-noise {item.rel}", 0, [band], shape)
        place = (band + uniform(own.seed, "validation-timestep", item.rel, band)) / bands
        time = torch.tensor([int(place * 1000)])
        schedule: Any = family.schedule
        alpha = schedule.alphas_cumprod[time].float().view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        cond = family.with_geometry(
            family.encode_text(family.tokenize([item.caption])),
            [Geometry((item.height, item.width), (0, 0), (item.size[1], item.size[0]))],
        )
        losses.append(float(((family.denoise(noisy, time, cond, {}) - noise) ** 2).mean()))
    return sum(losses) / len(losses)


@torch.no_grad()
def test_the_loss_is_the_error_of_the_noise_whatever_the_objective(
    pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    plan = quick_plan(
        small_sd1,
        pictures,
        **SHARE,
        validation__bands=3,
        objective__min_snr_gamma=5.0,
        objective__loss="huber",
    )
    made = opened(plan, tmp_path / "cache")
    found = made.validate()
    assert list(found.bands) == ["0-332", "333-665", "666-999"]
    for module in made.adapted.family.parts.values():
        module.eval()
    expected = [_by_hand(made, band, 3) for band in range(3)]
    assert list(found.bands.values()) == pytest.approx(expected, rel=1e-5)
    assert found.loss == pytest.approx(sum(expected) / 3, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_averages_are_measured_beside_the_weights(
    precision: str, pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    rate: dict[str, object] = {"train__learning_rate": 0.02, "train__precision": precision}
    averaged = opened(quick_plan(small_sd1, pictures, **SHARE, **rate, train__ema=0.99), tmp_path / "cache")
    alone = opened(quick_plan(small_sd1, pictures, **SHARE, **rate), tmp_path / "cache")
    for made in (averaged, alone):
        made.train(3)
    both, one = averaged.validate(), alone.validate()
    assert one.raw is None and both.raw == one.loss, "the same weights"
    assert both.loss != both.raw
    with averaged.loop.averaged():
        averaged.loop.ema = None
        assert averaged.validate().loss == both.loss


def test_schedule_free_is_measured_as_it_is_used(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    pytest.importorskip("schedulefree")
    plan = quick_plan(small_sd1, pictures, **SHARE, optimizer__name="schedule_free")
    made = opened(plan, tmp_path / "cache")
    made.train(3)
    before, found = bits(made), made.validate()
    assert bits(made) == before and found.raw is None
    with made.loop.averaged():
        kept, made.loop.ema = made.loop.ema, None
        assert made.validate().loss == found.loss
    assert made.validate().loss != found.loss, "these are the weights that gradients are taken at"
    made.loop.ema = kept


def test_memory_that_runs_out_makes_batches_smaller(
    pictures: Path, small_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(small_sd1, pictures, **{**SHARE, "validation__share": 0.5}, train__batch_size=4)
    made = opened(plan, tmp_path / "cache")
    whole = made.validate()
    family, real = made.adapted.family, made.adapted.family.denoise
    most = 1

    def denoise(noisy: Any, *given: Any) -> Any:
        if len(noisy) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(noisy, *given)

    monkeypatch.setattr(family, "denoise", denoise)
    assert made.validate().loss == pytest.approx(whole.loss, rel=1e-5)
    assert made.loop.limit == 4, "the training's batches stay as they are"
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        made.validate()
    assert family.denoiser.training, "the training goes on as it was"


def test_a_plan_that_holds_nothing_out_says_so(pictures: Path, small_sd1: Path, tmp_path: Path) -> None:
    made = opened(quick_plan(small_sd1, pictures), tmp_path / "cache")
    with pytest.raises(UserError, match="holds no pictures out"):
        made.validate()
    with pytest.raises(UserError, match="no picture to validate on"):
        opened(
            quick_plan(small_sd1, pictures, validation__every=1, validation__share=0.01), tmp_path / "cache"
        )


def _all_alike(found: Any) -> Iterator[float]:
    yield found.loss
    yield from found.bands.values()
    yield from found.signals.values()


@pytest.mark.parametrize("cached", ["on", "off"])
def test_shards_and_latents_encoded_on_the_fly(
    cached: str, pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    shards = pack(pictures, tmp_path / "shards", [3, 3])
    plan = quick_plan(
        small_sd1,
        shards,
        **SHARE,
        data__cache_latents=cached,
        data__cache_text=cached,
        data__random_crop=cached == "off",
    )
    made = opened(plan, tmp_path / "cache")
    held = validated_on(plan, made.data)
    assert len(held) == 2 and all(item.span is not None for item in held)
    first = made.validate()
    assert made.validate() == first and all(math.isfinite(each) for each in _all_alike(first))
    assert not {item.rel for item in held} & trained_names(made)


def test_a_controlnet_validates_pairs_and_a_text_encoder_is_asked_anew(
    pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    conditions = write_conditions(pictures, tmp_path / "conditions")
    own = shutil.copytree(pictures, tmp_path / "own")
    for plan in (
        quick_plan(small_sd1, pictures, **SHARE, method="controlnet", controlnet__condition_path=str(conditions)),
        quick_plan(
            small_sd1, pictures, method="controlnet", controlnet__condition_path=str(conditions),
            validation__every=1, validation__path=str(own),
        ),
        quick_plan(small_sd1, pictures, **SHARE, lora__text_encoder=True),
    ):  # fmt: skip
        made = opened(plan, tmp_path / "cache")
        before = made.validate()
        made.train(2)
        after = made.validate()
        assert math.isfinite(after.loss) and after.loss != before.loss
