"""From scratch: fresh weights of a valid shape, keyed, with their own schedule, through stages of resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.draws import keyed
from engine.errors import UserError
from engine.families.load import load_family
from engine.models.published import published
from engine.models.widths import problem_of, widths_of, with_widths
from engine.plan.schema import Plan
from engine.train import checkpoint
from engine.train.exporting import export_all
from engine.train.staged_feed import StagedFeed
from tests.methods.plain import Plain, samples
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.schedules import alphas_of
from tests.support.sessions import prepared, run_steps, weights

SEED = 7
OWN = [24, 32, 40, 48]


def _plan(base: Path, tmp_path: Path, **changes: object) -> Plan:
    folder = write_pictures(tmp_path / "pictures", count=4)
    asked = {"method": "scratch", "seed": SEED, "train__steps": 3, "data__caption_dropout": 0.0, **changes}
    return quick_plan(base, folder, **asked)


def test_steps_equal_plain_diffusers_with_the_same_fresh_weights(sd1_folder: Path, tmp_path: Path) -> None:
    rate = 1e-4
    plan = _plan(sd1_folder, tmp_path, scratch__size="own", scratch__widths=OWN, train__learning_rate=rate)
    made = prepared(plan, tmp_path / "cache")
    plain = Plain.load(sd1_folder, SEED)
    config = {**UNet2DConditionModel.load_config(sd1_folder, subfolder="unet"), "block_out_channels": OWN}
    with keyed(SEED, "init", "unet"):
        plain.unet = UNet2DConditionModel.from_config(config)
    plain.encoder.requires_grad_(False)
    named: dict[str, Any] = {f"unet.{name}": value for name, value in plain.unet.named_parameters()}
    groups = [
        {"params": [value for value in named.values() if value.ndim > 1], "weight_decay": 0.01},
        {"params": [value for value in named.values() if value.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    for step, (report,) in enumerate(made.loop.run(0, lambda step: True), 1):
        rows = [int(row) for row in made.feed.order.batch(step - 1)]
        loss = plain.loss(step, samples(tmp_path / "pictures", rows))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
        optimizer.step()
        assert abs(report.loss - float(loss)) < 1e-6
        for item in made.adapted.trainables:
            ours, theirs = item.parameter.grad, named[item.name].grad
            assert ours is not None and torch.allclose(ours, theirs, atol=1e-6), item.name


def test_the_fresh_unet_is_not_the_bases_and_the_rest_is(sd1_folder: Path, tmp_path: Path) -> None:
    base = load_family(sd1_folder)
    before = torch.random.get_rng_state()
    made = prepared(_plan(sd1_folder, tmp_path, scratch__size="base"), tmp_path / "cache")
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left as it was"
    unet, old = made.adapted.family.denoiser.state_dict(), base.denoiser.state_dict()
    assert not torch.equal(unet["conv_in.weight"], old["conv_in.weight"].float())
    for part in ("vae", "text_encoder"):
        ours, theirs = made.adapted.family.parts[part].state_dict(), base.parts[part].state_dict()
        assert all(torch.equal(ours[name], theirs[name].float()) for name in theirs)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("size", ["base", "small", "narrow"])
def test_every_size_of_every_family_is_a_unet_that_can_be_built(family: str, size: str) -> None:
    config = published(family, "unet")
    widths = widths_of(config, size)
    narrow = with_widths(config, widths)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(narrow)
    assert widths == config["block_out_channels"] or size != "base"
    assert all(width % 32 == 0 for width in widths)
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    assert attention.heads * attention.inner_dim // attention.heads == widths[-1]
    if family != "sd1":
        assert attention.inner_dim // attention.heads == 64, "a head stays as wide as the family's"


@pytest.mark.parametrize(
    ("widths", "why"), [([320, 640], "one width a level"), ([320, 640, 1280, 1300], "multiple of 32")]
)
def test_widths_that_do_not_fit_are_refused(widths: list[int], why: str) -> None:
    config = published("sd1", "unet")
    assert why in problem_of(config, widths)
    with pytest.raises(UserError, match=r"scratch\.widths"):
        widths_of(config, "own", widths)


def test_its_own_schedule_is_trained_and_exported(sd1_folder: Path, tmp_path: Path) -> None:
    plan = _plan(
        sd1_folder,
        tmp_path,
        scratch__size="own",
        scratch__widths=OWN,
        scratch__prediction="v_prediction",
        scratch__zero_terminal_snr=True,
        train__steps=1,
    )
    made = prepared(plan, tmp_path / "cache")
    run_steps(made)
    alphas = alphas_of(made.adapted.family)
    assert made.adapted.family.schedule.prediction == "v_prediction" and float(alphas[-1]) == 0
    (tmp_path / "out").mkdir()
    for done in export_all(plan, made.adapted, tmp_path / "out", 1, made.report.items):
        again = load_family(done.path, tokenizer=str(sd1_folder / "tokenizer"))
        assert again.schedule.prediction == "v_prediction", done.format
        assert torch.equal(alphas_of(again), alphas), done.format
        assert list(again.configs["unet"]["block_out_channels"]) == OWN
        live = made.adapted.family.denoiser.state_dict()
        stored = again.denoiser.state_dict()
        assert stored.keys() == live.keys()
        assert all(torch.equal(stored[name], live[name].half()) for name in live)


def _staged(base: Path, tmp_path: Path, **changes: object) -> Plan:
    asked = {"scratch__stages": ["64:2", "128:2"], "scratch__stage_rate": 0.5, "train__steps": 4}
    return _plan(base, tmp_path, scratch__size="own", scratch__widths=OWN, **{**asked, **changes})


def test_stages_change_the_resolution_and_the_rate_at_their_steps(sd1_folder: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", count=4, side=128)
    plan = _staged(sd1_folder, tmp_path, train__learning_rate=1e-3)
    write_pictures(tmp_path / "pictures", count=4, side=128)
    made = prepared(plan, tmp_path / "cache")
    assert isinstance(made.feed, StagedFeed)
    reports = run_steps(made)
    assert [report.lr for report in reports] == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4])
    sides = [next(iter(made.feed.step(step, 2))).mean.shape[-1] * 8 for step in (1, 2, 3, 4)]
    assert sides == [64, 64, 128, 128]


def test_resume_in_a_later_stage_is_bit_exact(sd1_folder: Path, tmp_path: Path) -> None:
    plan = _staged(sd1_folder, tmp_path)
    write_pictures(tmp_path / "pictures", count=4, side=128)
    whole = prepared(plan, tmp_path / "cache")
    run_steps(whole)
    first = prepared(plan, tmp_path / "cache")
    run_steps(first, until=3)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints", 3, first.adapted.trainables, first.loop.optimizer, state
    )
    second = prepared(plan, tmp_path / "cache")
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    run_steps(second, start=3)
    ours, theirs = weights(second), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
