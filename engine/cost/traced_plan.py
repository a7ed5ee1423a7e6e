"""What was traced of a plan's kind, and the text by which it is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.cost.quantity import Quantity, Scale
from engine.cost.traced_step import Moment, TracedStep
from engine.models.layers import Layer
from engine.plan.schema import Plan

FORMAT = 1
"""Of what is kept of a trace; what was kept in another one is traced again."""


@dataclass(frozen=True)
class TracedPlan:
    """A step, and the moments at which most is alive while the VAE decodes a preview and while it encodes pictures.
    `trained` are the bytes of what trains in fp32."""

    step: TracedStep
    decoding: Sequence[Moment]
    encoding: Sequence[Moment]
    trained: Quantity

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {
            "format": FORMAT,
            "step": self.step.to_json(),
            "decoding": [moment.to_json() for moment in self.decoding],
            "encoding": [moment.to_json() for moment in self.encoding],
            "trained": self.trained.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TracedPlan:
        """The inverse of `to_json`."""
        decoding, encoding = (
            [Moment.from_json(item) for item in data[name]] for name in ("decoding", "encoding")
        )
        return cls(
            TracedStep.from_json(data["step"]), decoding, encoding, Quantity.from_json(data["trained"])
        )


def highest(moments: Sequence[Moment], scale: Scale) -> dict[str, float]:
    """Bytes by kind at the moment when most is alive."""
    return max(
        (moment.bytes_at(scale) for moment in moments), key=lambda kinds: sum(kinds.values()), default={}
    )


@dataclass(frozen=True)
class Traits:
    """All that the trace of a plan depends on but batch, area and rank. `model` is the family's name where the base
    has its published layers, else those layers' digest; `half` says whether autocast computes in 16 bit."""

    model: str
    method: str
    options: tuple[tuple[str, str], ...]
    checkpointing: bool
    half: bool

    @property
    def key(self) -> str:
        """One line of text."""
        words = [self.model, self.method, *(f"{name}={value}" for name, value in self.options)]
        words += ["checkpointing"] * self.checkpointing + ["half" if self.half else "fp32"]
        return " ".join(words)

    @classmethod
    def of(cls, key: str) -> Traits:
        """The inverse of `key`."""
        model, method, *words = key.split(" ")
        options = tuple((name, value) for name, _, value in (word.partition("=") for word in words) if value)
        return cls(model, method, options, "checkpointing" in words, words[-1] == "half")

    def likeness(self, other: Traits) -> tuple[int, ...]:
        """How much of it another trace shares: the larger, the better it stands for this one."""
        own, theirs = set(self.options), set(other.options)
        alike = (
            self.method == other.method,
            self.checkpointing == other.checkpointing,
            self.half == other.half,
        )
        return (*map(int, alike), len(own & theirs) - len(own ^ theirs))


def traits_of(plan: Plan, model: str, half: bool) -> Traits:
    """The traits of a plan on a base of this name or digest."""
    options = plan.options
    skipped = options.sizeless_fields | {options.width_field}
    values = options.model_dump()
    defaults = type(options)().model_dump()
    # Options at their defaults are left out, so that a new option changes no key.
    told = {
        name: _text(value)
        for name, value in values.items()
        if name not in skipped and value != defaults[name]
    }
    saving, blocks = plan.hardware.gradient_checkpointing, plan.hardware.checkpointed_blocks
    if saving and blocks:
        # As long as that was not traced, what is computed again does not count as saved.
        told["checkpointed_blocks"], saving = str(blocks), False
    return Traits(model, plan.method, tuple(sorted(told.items())), saving, half)


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":")).strip('"').replace(" ", "_")


def digest_of(layers: Sequence[Layer], text: Sequence[Layer]) -> str:
    """Of a model whose layers are not the published ones."""
    lines = "\n".join(map(repr, (*layers, *text)))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
