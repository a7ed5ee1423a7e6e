"""Random draws depend on their names alone, and have the distribution that is asked for."""

from __future__ import annotations

import pytest
import torch

from engine.draws import flags, normal, uniforms


def test_a_slot_draws_the_same_whatever_else_is_in_the_batch() -> None:
    whole = normal(1, "noise", 3, [0, 1, 2, 3], (4, 8, 8))
    assert whole.shape == (4, 4, 8, 8) and whole.dtype == torch.float32
    assert torch.equal(torch.cat([normal(1, "noise", 3, [slot], (4, 8, 8)) for slot in range(4)]), whole)
    assert torch.equal(normal(1, "noise", 3, [3, 1], (4, 8, 8)), whole[[3, 1]])
    shares = uniforms(1, "timestep", 3, range(8))
    assert [uniforms(1, "timestep", 3, [slot])[0] for slot in range(8)] == shares
    assert flags(1, "timestep", 3, range(8), 0.5) == [share < 0.5 for share in shares]


def test_every_part_of_a_name_changes_the_draw() -> None:
    names = [
        (1, "noise", 3, 0),
        (2, "noise", 3, 0),
        (1, "offset", 3, 0),
        (1, "noise", 4, 0),
        (1, "noise", 3, 1),
    ]
    drawn = [normal(seed, purpose, step, [slot], (4,)) for seed, purpose, step, slot in names]
    assert len({tuple(row.flatten().tolist()) for row in drawn}) == len(names)
    assert len({uniforms(seed, purpose, step, [slot])[0] for seed, purpose, step, slot in names}) == len(
        names
    )


def test_noise_is_standard_normal() -> None:
    noise = normal(5, "noise", 1, range(64), (4, 32, 32)).double()
    # 262,144 numbers: mean and deviation of a right sample lie within 5 of their standard errors.
    assert abs(float(noise.mean())) < 5 / 512
    assert abs(float(noise.std()) - 1) < 5 / 724


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_an_event_happens_as_often_as_its_probability_says(probability: float) -> None:
    happened = flags(5, "caption-dropout", 1, range(10_000), probability)
    assert abs(sum(happened) / 10_000 - probability) < 5 * (probability * (1 - probability) / 10_000) ** 0.5


def test_an_event_of_no_probability_never_happens_and_a_certain_one_always() -> None:
    assert not any(flags(5, "flip", 1, range(1000), 0.0))
    assert all(flags(5, "flip", 1, range(1000), 1.0))
