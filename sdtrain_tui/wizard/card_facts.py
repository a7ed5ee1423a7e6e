"""The cards in words: what is free on each, whether the plan fits, and what would make it fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.plan.units import size_text
from sdtrain_tui.wizard.facts_view import Fact

if TYPE_CHECKING:
    from engine.cost.machine import Gpu, Machine
    from engine.planning.card_fits import CardFit


def machine_facts(found: Machine, fits: Sequence[CardFit] = ()) -> list[Fact]:
    """The cards, each with what is known of the plan on it; or why there are none and what that means."""
    if not found.gpus:
        memory = size_text(found.memory_total)
        return [
            ("gpu", "warn", found.reason),
            ("cpu", "text", f"{found.cpus} cores, {memory} memory; fine for the tiny model"),
        ]
    known = {fit.gpu.index: fit for fit in fits}
    return [fact for gpu in found.gpus for fact in _card(gpu, known.get(gpu.index))]


def _card(gpu: Gpu, fit: CardFit | None) -> Iterator[Fact]:
    free = f"{size_text(gpu.memory_total)}, {size_text(gpu.memory_free)} free"
    yield f"gpu {gpu.index}", "text", f"{gpu.name}, {free}"
    if fit is None:
        return
    takes = size_text(fit.takes)
    if fit.fits:
        yield "", "ok", f"fits: about {takes} of what is free"
    elif fit.choices:
        yield (
            "",
            "warn",
            f"does not fit now: about {takes}; with this about {size_text(fit.then)}{_work(fit)}:",
        )
        for choice in fit.choices:
            told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in choice.changes.items())
            yield "", "text", f"- {choice.rung.name} ({told}): {choice.rung.price}"
    else:
        why = "nothing that the plan could give up makes it fit what is free"
        yield "", "error", f"does not fit: about {takes}; {why}"


def _work(fit: CardFit) -> str:
    return f" and {100 * (fit.work - 1):.0f} % more computation" if fit.work > 1.005 else ""
