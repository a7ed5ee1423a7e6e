"""Sizes that are not known yet: sums of terms in the batch, the area of the latents and the rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Powers = tuple[int, int, int]
"""The powers of batch, area and rank that a term grows with."""
CONSTANT: Powers = (0, 0, 0)


@dataclass(frozen=True)
class Scale:
    """What a quantity is asked for: pictures at once, places of the latents (h w), and the adapter's rank."""

    batch: float
    area: float
    rank: float = 1

    def of(self, powers: Powers) -> float:
        """What a term of these powers is multiplied with."""
        return float(self.batch ** powers[0] * self.area ** powers[1] * self.rank ** powers[2])


@dataclass(frozen=True)
class Quantity:
    """Coefficients by powers: bytes, operations or bytes moved."""

    terms: Mapping[Powers, float] = field(default_factory=dict)

    def at(self, scale: Scale) -> float:
        """The number at this scale."""
        return sum(value * scale.of(powers) for powers, value in self.terms.items())

    def at_rank(self, rank: float) -> float:
        """What it is without any picture."""
        return self.at(Scale(0, 0, rank))

    def times(self, factor: float) -> Quantity:
        """So many times as much."""
        return Quantity({powers: factor * value for powers, value in self.terms.items()})

    def to_json(self) -> dict[str, float]:
        """By "batch area rank", the powers written one after the other."""
        # Seven digits are more than any forecast is right to.
        return {
            "".join(map(str, powers)): float(f"{value:.7g}")
            for powers, value in sorted(self.terms.items())
            if value
        }

    @classmethod
    def from_json(cls, data: Mapping[str, float]) -> Quantity:
        """The inverse of `to_json`."""
        return cls({(int(key[0]), int(key[1]), int(key[2])): value for key, value in data.items()})

    @classmethod
    def total(cls, parts: Iterable[tuple[Powers, float]]) -> Quantity:
        """The sum of terms."""
        terms: dict[Powers, float] = {}
        for powers, value in parts:
            terms[powers] = terms.get(powers, 0.0) + value
        return cls(terms)
