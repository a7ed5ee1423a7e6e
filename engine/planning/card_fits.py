"""What fits each card as it is now, what would make it fit, and what that costs in computation."""

from __future__ import annotations

from dataclasses import dataclass

from engine.cost.machine import Gpu, Machine
from engine.cost.model_size import ModelSize
from engine.cost.numbers import computes_in_half
from engine.cost.peak import MemoryForecast, forecast_memory
from engine.cost.roofline import flops_per_image
from engine.plan.schema import Plan
from engine.planning.build import Facts
from engine.planning.ladder import SAME_BATCH, Choice, Fitted, changed, closed_to, fit


@dataclass(frozen=True)
class CardFit:
    """A plan on one card. `takes` is its forecast peak in bytes as it stands; `choices` are what would make it fit what
    is free, none where it fits or where nothing does; `then` is the peak with them, and `work` how many times as many
    operations a picture takes."""

    gpu: Gpu
    takes: int
    choices: tuple[Choice, ...] = ()
    then: int = 0
    work: float = 1.0

    @property
    def fits(self) -> bool:
        """Does the plan as it stands fit what is free?"""
        return self.takes <= self.gpu.memory_free


def card_fits(plan: Plan, facts: Facts, here: Machine) -> tuple[CardFit, ...]:
    """The plan on every card of the machine, as CUDA numbers them, by the memory that is free now."""
    found = []
    for gpu in here.gpus:
        place = changed(plan, {"hardware.device": f"cuda:{gpu.index}"})
        if place is not None:
            found.append(_one(place, facts, here, gpu))
    return tuple(found)


def _one(plan: Plan, facts: Facts, here: Machine, gpu: Gpu) -> CardFit:
    def forecast(made: Plan) -> MemoryForecast:
        model = ModelSize(made, facts.base)
        return forecast_memory(
            made, model, facts.report, True, computes_in_half(made, here), gpu.memory_total
        )

    def cost(made: Plan) -> int:
        return max(size for _, size in forecast(made).phases)

    takes = cost(plan)
    if takes <= gpu.memory_free:
        return CardFit(gpu, takes)
    found: Fitted = fit(plan, cost, gpu.memory_free, closed_to(gpu), SAME_BATCH)
    if found.cost > gpu.memory_free:
        return CardFit(gpu, takes)
    before, after = (flops_per_image(forecast(made).setting) for made in (plan, found.plan))
    return CardFit(gpu, takes, found.choices, found.cost, after / before)
