"""What a method's declaration may look at when it is asked about a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.plan.problems import Problem, warning

if TYPE_CHECKING:
    from engine.dataset.pairs import Pairs
    from engine.dataset.report import DatasetReport
    from engine.models.bases import BaseInfo
    from engine.models.family_spec import FamilySpec
    from engine.models.layers import Layer
    from engine.plan.schema import Plan


@dataclass(frozen=True)
class BaseShape:
    """The layers of a base, read from configs alone.

    `config` and `denoiser` are those of the denoiser that is trained; `text` are the layers of all text encoders,
    and `text_width` is what a caption's embedding is wide.
    """

    family: str
    config: Mapping[str, Any]
    denoiser: Sequence[Layer]
    text: Sequence[Layer]
    text_width: int


@dataclass(frozen=True)
class Derived:
    """One value that nobody gave, and why it is what it is."""

    key: str
    value: object
    why: str


class PlanContext(Protocol):
    """A plan and the facts about its data, base and machine.

    `report`, `base` and `family` are none where they could not be had; a rule that needs them then says nothing.
    """

    @property
    def plan(self) -> Plan: ...
    @property
    def report(self) -> DatasetReport | None: ...
    @property
    def base(self) -> BaseInfo | None: ...
    @property
    def family(self) -> FamilySpec | None: ...
    @property
    def tiny(self) -> bool: ...
    @property
    def pair(self) -> Callable[[DatasetReport, str], Pairs | None]: ...
    @property
    def pictures(self) -> int:
        """Pictures to train on; 0 where that is not known."""
        ...

    @property
    def images_seen(self) -> int:
        """Samples over the whole run, counting repeats."""
        ...

    @property
    def seconds(self) -> float | None:
        """How long the run will take, where an earlier one tells."""
        ...

    @property
    def denoiser_config(self) -> Mapping[str, Any]:
        """The config of the base's own denoiser, or as its family publishes it."""
        ...


class GrowingPlan(Protocol):
    """A plan while values are derived for it: what was given is never replaced."""

    @property
    def method(self) -> str: ...
    @property
    def given(self) -> Mapping[str, object]: ...
    @property
    def tiny(self) -> bool: ...
    @property
    def uncaptioned(self) -> int:
        """Pictures without a caption of their own; 0 where that is not known."""
        ...

    def whole(self, key: str) -> int:
        """The value so far of a whole number."""
        ...

    def plan(self) -> Plan | None:
        """The plan so far; none while it does not fit the schema."""
        ...


def unused_text_rate(ctx: PlanContext, trains: bool, learning_rate: float | None) -> Iterator[Problem]:
    """A warning where the text encoder has a learning rate and does not train."""
    if learning_rate and not trains:
        name = ctx.plan.method
        fix = f"set {name}.text_encoder = true, or leave the rate out"
        yield warning(
            f"{name}.text_encoder_learning_rate", "has no effect", f"{name}.text_encoder is off", fix
        )
