"""Schedule-Free: what is shown is its average, and looking at it changes nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.train.ema import OptimizerAverage
from tests.train.small import Small, plan_of


def made() -> Small:
    return Small.of(plan_of(Path("/base"), Path("/data"), "schedule_free", train__schedule="constant"))


def test_previews_and_saves_between_the_steps_change_no_bit() -> None:
    looked_at, left_alone = made(), made()
    assert isinstance(looked_at.average, OptimizerAverage)
    for number in range(1, 7):
        looked_at.step(number)
        left_alone.step(number)
        with looked_at.average.averaged():
            shown = [value.detach().clone() for value in looked_at.parameters]
        looked_at.average.state()
        assert not any(
            torch.equal(one, two) for one, two in zip(shown, looked_at.parameters, strict=True)
        ) or (number == 1)
    for one, two in zip(looked_at.parameters, left_alone.parameters, strict=True):
        assert torch.equal(one, two)


def test_what_is_shown_is_the_average_of_the_papers_equations() -> None:
    """x of arXiv:2405.15682, equation 5, followed beside the optimiser in fp64, weighed by the rates of a warm-up."""
    found = made()
    rates: list[float] = []
    track: list[torch.Tensor] = []
    for number in range(1, 5):
        found.step(number)
        group = next(
            group for group in found.optimizer.param_groups if found.parameters[1] in set(group["params"])
        )
        rates.append(max([*rates, group["lr"]]))
        state = found.optimizer.state[found.parameters[1]]
        share = rates[-1] ** 2 / sum(rate**2 for rate in rates)
        before = track[-1] if track else state["z"].double()
        track.append(before + share * (state["z"].double() - before))
    with found.average.averaged():
        torch.testing.assert_close(found.parameters[1].detach().double(), track[-1], rtol=0, atol=1e-6)
