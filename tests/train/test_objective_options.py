"""Each option of the objective changes what it should and nothing else, by formulas that are written here again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import pytest
import torch

from engine.families.variance_preserving import VariancePreserving
from engine.keys import uniform
from engine.models.published import published
from engine.train import checkpoint
from tests.support.draws import normal
from tests.support.first_step import FirstStep, first_step
from tests.support.loss_formulas import WEIGHTS
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

SEED, STEP, SLOTS = 7, 1, (0, 1)
SHAPE = (4, 8, 8)


Look = Callable[..., FirstStep]


@pytest.fixture
def look(small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The first step of a plan whose objective is so."""

    def seen(**changes: object) -> FirstStep:
        plan = quick_plan(small_sd1, pictures, **_named(changes))
        return first_step(plan, tmp_path / "cache", monkeypatch)

    return seen


def test_the_defaults_are_mean_squared_errors_of_plain_noise(look: Look) -> None:
    plain = look()
    for at, slot in enumerate(SLOTS):
        assert torch.allclose(plain.added[at], normal(SEED, "noise", STEP, slot, SHAPE), atol=1e-6)
        assert float(plain.times[at]) == int(uniform(SEED, "timestep", STEP, slot) * 1000)
        assert float(plain.losses[at]) == float((plain.errors()[at] ** 2).mean())


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_of_the_timestep_multiplies_the_loss_alone(name: str, look: Look) -> None:
    changes, weight = WEIGHTS[name]
    plain, weighed = look(), look(**changes)
    for part in ("latents", "added", "target", "prediction", "times"):
        assert torch.equal(getattr(plain, part), getattr(weighed, part)), part
    for at, snr in enumerate(plain.snr):
        expected = float(plain.losses[at]) * weight(snr, int(plain.times[at]))
        assert float(weighed.losses[at]) == pytest.approx(expected, rel=1e-4)


def _named(changes: dict[str, object]) -> dict[str, object]:
    return {f"objective__{name}": value for name, value in changes.items()}


@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
def test_hubers_delta_follows_its_schedule(schedule: str, look: Look) -> None:
    """Schedules: get_huber_threshold_if_needed of kohya's scripts; the loss: Huber 1964, doubled."""
    plain, huber = look(), look(loss="huber", huber_delta=0.2, huber_schedule=schedule)
    assert torch.equal(plain.prediction, huber.prediction) and torch.equal(plain.target, huber.target)
    for at, (time, snr) in enumerate(zip(plain.times.tolist(), plain.snr, strict=True)):
        delta = {
            "constant": 0.2,
            "exponential": math.exp(math.log(0.2) / 1000 * time),
            "snr": (1 - 0.2) / (1 + snr**-0.5) ** 2 + 0.2,
        }[schedule]
        sizes = plain.errors()[at].abs().double().flatten().tolist()
        expected = sum(e**2 if e <= delta else 2 * delta * e - delta**2 for e in sizes) / len(sizes)
        assert float(huber.losses[at]) == pytest.approx(expected, rel=1e-5)


def test_l1_is_the_mean_distance(look: Look) -> None:
    plain, other = look(), look(loss="l1")
    assert torch.equal(plain.prediction, other.prediction)
    expected = plain.errors().abs().mean(dim=(1, 2, 3))
    assert other.losses.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


DISTRIBUTIONS: dict[str, tuple[dict[str, object], Callable[[float], float]]] = {
    "cubic": ({"timesteps": "cubic"}, lambda u: 1 - u**3),
    # sigmoid(mean + std N(0, 1)): Esser et al. 2024 (arXiv:2403.03206), section 3.1.
    "logit_normal": (
        {"timesteps": "logit_normal", "timestep_mean": 0.5, "timestep_spread": 0.7},
        lambda u: 1 / (1 + math.exp(-NormalDist(0.5, 0.7).inv_cdf(u))),
    ),
    "sigmoid": ({"timesteps": "sigmoid"}, lambda u: 1 / (1 + math.exp(-NormalDist().inv_cdf(u)))),
    "narrow sigmoid": (
        {"timesteps": "sigmoid", "timestep_spread": 0.2},
        lambda u: 1 / (1 + math.exp(-NormalDist(0, 0.2).inv_cdf(u))),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_timesteps_are_the_quantiles_of_their_distribution(name: str, look: Look) -> None:
    changes, share = DISTRIBUTIONS[name]
    plain, other = look(), look(**changes, min_timestep=100, max_timestep=899)
    assert torch.equal(plain.latents, other.latents) and torch.equal(plain.added, other.added)
    drawn = [uniform(SEED, "timestep", STEP, slot) for slot in SLOTS]
    assert other.times.tolist() == [100 + int(800 * share(draw)) for draw in drawn]
    assert other.times.tolist() != plain.times.tolist()


def test_every_draw_gives_a_timestep_of_the_span() -> None:
    schedule = VariancePreserving.from_config(published("sd1", "scheduler"))
    for changes, _ in DISTRIBUTIONS.values():
        objective = quick_plan("base", Path("data"), **_named(changes)).objective
        found = schedule.timesteps([0.0, 1 - 2**-53], objective, SHAPE)
        assert all(0 <= time <= 999 for time in found.tolist())


ALL: dict[str, dict[str, object]] = {
    "pyramid": {
        "objective__pyramid_noise": 4,
        "objective__input_perturbation": 0.1,
        "objective__weighting": "debiased",
        "objective__timesteps": "sigmoid",
        "objective__loss": "huber",
        "objective__huber_schedule": "snr",
    },
    "offset": {
        "objective__noise_offset": 0.05,
        "objective__adaptive_noise_offset": 0.1,
        "objective__min_snr_gamma": 5.0,
        "objective__soft_min_snr": True,
        "objective__timesteps": "logit_normal",
        "objective__band_weights": "0-499:0.5",
        "objective__loss": "huber",
        "objective__huber_schedule": "exponential",
    },
}


@pytest.mark.parametrize("name", ALL)
def test_three_steps_and_three_are_six_and_pieces_see_the_same_draws(
    name: str, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = quick_plan(small_sd1, pictures, train__steps=6, **ALL[name])

    def made() -> Prepared:
        return prepared(plan, tmp_path / "cache")

    straight, first, second = made(), made(), made()
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=3)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(tmp_path / "at", 3, first.adapted.trainables, first.loop.optimizer, state)
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    assert [report.loss for report in run_steps(second, start=3)] == losses[3:]
    ours, theirs = weights(second), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    pieces = made()
    pieces.loop.limit = 1
    assert [report.loss for report in run_steps(pieces)] == pytest.approx(losses, rel=1e-4)
