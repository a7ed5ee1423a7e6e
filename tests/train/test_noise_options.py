"""Each option of the noise changes what it should and nothing else, by formulas that are written here again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.keys import uniform
from tests.support.draws import normal
from tests.support.first_step import FirstStep, first_step
from tests.support.runs import quick_plan

SEED, STEP, SLOTS = 7, 1, (0, 1)
SHAPE = (4, 8, 8)
Look = Callable[..., FirstStep]


@pytest.fixture
def look(small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The first step of a plan whose objective is so."""

    def seen(**changes: object) -> FirstStep:
        named = {f"objective__{name}": value for name, value in changes.items()}
        return first_step(quick_plan(small_sd1, pictures, **named), tmp_path / "cache", monkeypatch)

    return seen


def test_an_adaptive_offset_follows_the_mean_of_each_channel(look: Look) -> None:
    """apply_noise_offset of kohya's scripts."""
    plain, other = look(), look(noise_offset=0.05, adaptive_noise_offset=0.5)
    alone = look(adaptive_noise_offset=0.5)
    none = look(noise_offset=0.05, adaptive_noise_offset=-1.0)
    for part in ("latents", "times"):
        assert torch.equal(getattr(plain, part), getattr(other, part))
    for at, slot in enumerate(SLOTS):
        draw = normal(SEED, "offset", STEP, slot, (4, 1, 1))
        mean = plain.latents[at].mean(dim=(1, 2), keepdim=True).abs()
        for found, strength in (
            (other, 0.05 + 0.5 * mean),
            (alone, 0.5 * mean),
            (none, (0.05 - mean).clamp(min=0)),
        ):
            assert torch.allclose(found.added[at], plain.added[at] + strength * draw, atol=1e-6)
    # The noise that is predicted has the offset too.
    assert torch.equal(other.added, other.target)


def test_perturbed_inputs_leave_what_is_to_be_predicted(look: Look) -> None:
    """Ning et al. 2023 (arXiv:2301.11706), algorithm 1: y = noise + gamma more, and the noise is the target."""
    plain, other = look(), look(input_perturbation=0.1)
    for part in ("latents", "times", "target"):
        assert torch.equal(getattr(plain, part), getattr(other, part))
    for at, slot in enumerate(SLOTS):
        more = normal(SEED, "perturbation", STEP, slot, SHAPE)
        assert torch.allclose(other.added[at], plain.added[at] + 0.1 * more, atol=1e-6)


def _pyramid(slot: int, levels: int, discount: float) -> Tensor:
    """pyramid_noise_like of kohya's scripts, for one sample, with the keyed draws in the place of random numbers."""
    noise, (_, height, width) = normal(SEED, "noise", STEP, slot, SHAPE)[None], SHAPE
    for i in range(levels):
        r = uniform(SEED, f"pyramid ratio {i}", STEP, slot) * 2 + 2
        wn, hn = max(1, int(width / (r**i))), max(1, int(height / (r**i)))
        level = normal(SEED, f"pyramid {i}", STEP, slot, (4, hn, wn))[None]
        noise = noise + torch.nn.Upsample(size=(height, width), mode="bilinear")(level) * discount**i
        if wn == 1 or hn == 1:
            break
    return (noise / noise.std())[0]


@pytest.mark.parametrize(("levels", "discount"), [(1, 0.3), (2, 0.8), (10, 0.3)])
def test_pyramid_noise_is_kohyas_by_sample(levels: int, discount: float, look: Look) -> None:
    plain, other = look(), look(pyramid_noise=levels, pyramid_discount=discount)
    for part in ("latents", "times"):
        assert torch.equal(getattr(plain, part), getattr(other, part))
    for at, slot in enumerate(SLOTS):
        assert torch.allclose(other.added[at], _pyramid(slot, levels, discount), atol=1e-5)
        assert float(other.added[at].std()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(other.added, other.target)
