"""What fits: for every method, family and size of card the plan that `sdtrain new` makes, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.cost.estimate import estimate
from engine.cost.machine import Gpu, Machine
from engine.models.bases import BaseInfo
from engine.models.specs import FAMILIES
from engine.plan.methods import METHODS
from engine.plan.units import size_text
from engine.planning.build import Facts, build

CARDS = (8, 12, 16, 24, 48, 80)
"""GiB."""
GIB = 2**30


@dataclass(frozen=True)
class Fit:
    """One plan on one card: bytes at the peak, and what the plan chose for it."""

    method: str
    family: str
    card: int
    takes: int
    batch_size: int
    accumulation: int
    checkpointing: bool
    optimizer: str

    @property
    def fits(self) -> bool:
        """Is the peak within the card?"""
        return self.takes <= self.card * GIB

    def text(self) -> str:
        """In a cell of a table; c is gradient checkpointing."""
        if not self.fits:
            return f"no: {size_text(self.takes)}"
        pieces = f"{self.batch_size}x{self.accumulation}" if self.accumulation > 1 else str(self.batch_size)
        saving = " c" if self.checkpointing else ""
        return f"{pieces}{saving}, {size_text(self.takes)}"


def fits(cards: Iterable[int] = CARDS) -> Iterator[Fit]:
    """Every method on every family that it trains, at the family's own resolution, on a card of each size."""
    for method in METHODS:
        for family in FAMILIES:
            for card in cards:
                if METHODS[method].requires <= FAMILIES[family].provides:
                    yield _fit(method, family, card)


def _fit(method: str, family: str, card: int) -> Fit:
    spec = FAMILIES[family]
    base = BaseInfo(
        "owner/model", "hub", None, family, spec.title, "epsilon", "base", "fp16", spec.resolution, False, ()
    )
    gpu = Gpu(0, f"{card} GB", "GPU", card * GIB, card * GIB, (9, 0))
    here = Machine((gpu,), "", "", 8, 64 * GIB)
    answers = {"method": method, "base.model": base.model, "data.path": "/", "data.trigger": "word"}
    plan = build(answers, Facts(None, base, float(card), here.gpus, here)).plan
    takes = estimate(plan, base, None, here).vram_total
    train, saving = plan.train, plan.hardware.gradient_checkpointing
    return Fit(
        method,
        family,
        card,
        takes,
        train.batch_size,
        train.gradient_accumulation,
        saving,
        plan.optimizer.name,
    )


def lines(found: Iterable[Fit]) -> list[str]:
    """A table for a terminal: a row a method and family, a column a card."""
    rows: dict[tuple[str, str], dict[int, Fit]] = {}
    for fit in found:
        rows.setdefault((fit.method, fit.family), {})[fit.card] = fit
    cards = sorted({card for row in rows.values() for card in row})
    head = f"{'method':<18} {'family':<6}" + "".join(f" {card:>4} GB{'':<11}" for card in cards)
    body = [
        f"{method:<18} {family:<6}" + "".join(f" {row[card].text():<18}" for card in cards)
        for (method, family), row in rows.items()
    ]
    legend = (
        "pictures at once (x batches a step), c with gradient checkpointing, and the forecast peak; "
        "no: above the card with all that the plan can choose"
    )
    return [head.rstrip(), *(row.rstrip() for row in body), legend]
