"""What was counted of a step: the moments at which most is alive, the operations and the bytes moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from engine.cost.quantity import Quantity, Scale

GRADIENTS = "gradients"


@dataclass(frozen=True)
class Moment:
    """One moment of a step, forward or backward: the live bytes by kind, beyond what is there between two steps."""

    phase: str
    kinds: Mapping[str, Quantity]

    def bytes_at(self, scale: Scale) -> dict[str, float]:
        """Live bytes of each kind."""
        return {name: quantity.at(scale) for name, quantity in self.kinds.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {"phase": self.phase, **{name: quantity.to_json() for name, quantity in self.kinds.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Moment:
        """The inverse of `to_json`."""
        kinds = {name: Quantity.from_json(value) for name, value in data.items() if name != "phase"}
        return cls(data["phase"], kinds)


@dataclass(frozen=True)
class TracedStep:
    """`moments` are those of which one is the peak, whatever the batch, resolution and rank. `flops` are operations
    of products of matrices and convolutions, forward and backward with what is computed twice; `moved` the bytes that
    all other kernels read and write; `kernels` how many there are."""

    moments: Sequence[Moment]
    flops: Quantity
    moved: Quantity
    kernels: int

    def peak(
        self,
        scale: Scale,
        factors: Mapping[str, float] = MappingProxyType({}),
        gradients: float | None = None,
    ) -> tuple[str, dict[str, float]]:
        """Phase and live bytes by kind at the moment when most is alive.

        A kind takes `factors` times what it takes in fp32. `gradients` are bytes of them that are there all along, as
        earlier batches of the step have left them.
        """
        best: tuple[str, dict[str, float]] = ("forward", {})
        for moment in self.moments:
            found = {kind: size * factors.get(kind, 1) for kind, size in moment.bytes_at(scale).items()}
            if gradients is not None:
                found[GRADIENTS] = gradients
            if sum(found.values()) > sum(best[1].values()):
                best = (moment.phase, found)
        return best

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {
            "moments": [moment.to_json() for moment in self.moments],
            "flops": self.flops.to_json(),
            "moved": self.moved.to_json(),
            "kernels": self.kernels,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TracedStep:
        """The inverse of `to_json`."""
        moments = [Moment.from_json(value) for value in data["moments"]]
        flops, moved = Quantity.from_json(data["flops"]), Quantity.from_json(data["moved"])
        return cls(moments, flops, moved, int(data["kernels"]))
