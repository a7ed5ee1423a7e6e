"""A plan that grows: what is known before, what was given, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.cost.machine import Gpu, Machine, machine
from engine.dataset.pairs import Pairs
from engine.dataset.repeat_folders import RepeatFolder
from engine.dataset.report import DatasetReport
from engine.models.bases import BaseInfo
from engine.plan.files import from_dict
from engine.plan.layouts import Layout
from engine.plan.methods import DEFAULT_METHOD, METHODS
from engine.plan.methods.context import Derived
from engine.plan.overrides import put
from engine.plan.problems import PlanErrors, Problem
from engine.plan.schema import Plan, plan_fields


@dataclass(frozen=True)
class Facts:
    """What is known before a plan is built. `report` and `base` are none where the answers name none.

    `vram_gb` (GiB) is the card's that the answers choose, none for a CPU; `problems` say why there is no base.
    """

    report: DatasetReport | None = None
    base: BaseInfo | None = None
    vram_gb: float | None = None
    gpus: tuple[Gpu, ...] = ()
    machine: Machine = field(default_factory=machine)
    problems: tuple[Problem, ...] = ()
    pairs: Pairs | None = None
    """Pictures and their conditions, where these are files."""
    prior: DatasetReport | None = None
    """The user's own class pictures."""
    layout: Layout | None = None
    """The several sets that the data's path is, as another program lays them out."""
    named: RepeatFolder | None = None
    """What the folder's name says of its repeats and its subject."""

    @property
    def tiny(self) -> bool:
        return self.base is not None and self.base.tiny

    @property
    def pictures(self) -> int:
        return self.report.counts.images if self.report is not None else 0


@dataclass
class PlanBuilder:
    """A plan that grows: `values` by dotted key, the given ones first; a given value is never replaced."""

    given: Mapping[str, object]
    facts: Facts
    values: dict[str, object] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = dict(self.given)
        self._defaults = {entry.key: entry.default for entry in plan_fields(self.method)}

    @property
    def method(self) -> str:
        name = self.given.get("method", DEFAULT_METHOD)
        return name if isinstance(name, str) and name in METHODS else DEFAULT_METHOD

    @property
    def tiny(self) -> bool:
        return self.facts.tiny

    @property
    def uncaptioned(self) -> int:
        report = self.facts.report
        return report.counts.images - report.counts.captioned if report is not None else 0

    def take(self, derived: Derived) -> None:
        """Add a value, unless it was given."""
        if derived.key not in self.given:
            self.values[derived.key] = derived.value
            self.derived[derived.key] = derived

    def whole(self, key: str) -> int:
        """The value so far of a whole number; the schema's default where the answer is of another kind."""
        value = self.values.get(key, self._defaults[key])
        default = self._defaults[key]
        assert isinstance(default, int)
        return value if isinstance(value, int) and value > 0 else default

    def plan(self) -> Plan | None:
        """The plan so far, or none while it does not fit the schema."""
        try:
            return from_dict(nested({"name": "builder", **self.values}))
        except PlanErrors:
            return None


Rule = Callable[[PlanBuilder], Iterator[Derived]]


def flatten(answers: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested tables as dotted keys; dotted keys stay as they are."""
    flat: dict[str, object] = {}
    for key, value in answers.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Dotted keys as nested tables."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        put(tables, key, value)
    return tables
