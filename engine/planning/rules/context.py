"""What the rules look at: the plan and the facts about its data, base and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.cost.counts import family_of, part_config
from engine.cost.estimate import Estimate, estimate
from engine.cost.machine import Gpu, Machine
from engine.dataset.pairs import Pairs, pair_up
from engine.dataset.report import DatasetReport
from engine.models.bases import BaseInfo
from engine.models.family_spec import FamilySpec
from engine.models.specs import FAMILIES, USUAL
from engine.plan.methods import METHODS, MethodSpec
from engine.plan.problems import Problem
from engine.plan.schema import Plan
from engine.planning.data import scan_classes, scan_validation, trained_on
from engine.planning.presets import Preset, preset


@dataclass(frozen=True)
class Context:
    """`report` and `base` are none where they could not be had; a rule that needs them then says nothing."""

    plan: Plan
    report: DatasetReport | None
    base: BaseInfo | None
    machine: Machine
    pair: Callable[[DatasetReport, str], Pairs | None] = pair_up
    """How pictures and the conditions in a folder are paired; none while nobody has looked."""
    directory: Path | None = None
    """The folder that the run is to have; none for one below the runs' root."""

    @property
    def spec(self) -> MethodSpec:
        return METHODS[self.plan.method]

    @property
    def family(self) -> FamilySpec | None:
        """The family that the plan names, or else the base's own."""
        name = self.plan.base.family
        return FAMILIES.get(self.base.family if self.base is not None and name == "auto" else name)

    @property
    def tiny(self) -> bool:
        return self.base is not None and self.base.tiny

    @property
    def gpu(self) -> Gpu | None:
        return self.machine.gpu_for(self.plan.hardware.device)

    @property
    def on_cpu(self) -> bool:
        """Will it run on the CPU, as far as can be seen from here?"""
        device = self.plan.hardware.device
        return device == "cpu" or (device == "auto" and self.gpu is None)

    @cached_property
    def pictures(self) -> int:
        """How many are trained on."""
        if self.report is None:
            return 0
        held = len(self.report.items) - len(trained_on(self.plan, self.report))
        return self.report.counts.images - held

    @property
    def images_seen(self) -> int:
        """Pictures over the whole run, counting repeats."""
        train = self.plan.train
        return train.steps * train.batch_size * train.gradient_accumulation

    @property
    def seconds(self) -> float | None:
        """How long the run will take, where an earlier one tells."""
        return self.estimate.seconds

    @property
    def denoiser_config(self) -> Mapping[str, Any]:
        """The config of the base's own denoiser, or as its family publishes it."""
        family = family_of(self.base, self.plan.base.family)
        return part_config(self.base, family, FAMILIES[family].denoiser)

    @cached_property
    def classes(self) -> DatasetReport | None:
        """The pictures of the plan's sets of class pictures, if it has such sets and they can be looked at."""
        return None if any(side % 8 for side in self.plan.data.sides) else scan_classes(self.plan.data)

    @cached_property
    def validated(self) -> DatasetReport | None:
        """The plan's folder to validate on, if it has one and it can be looked at."""
        wrong = any(side % 8 for side in self.plan.data.sides)
        return None if wrong or not self.plan.validation.path else scan_validation(self.plan)

    @cached_property
    def preset(self) -> Preset:
        """What a plan of this method on this base and card starts from."""
        name = self.family.name if self.family is not None else USUAL
        return preset(self.plan.method, name, self.tiny, self.gpu.gigabytes if self.gpu else None)

    @cached_property
    def estimate(self) -> Estimate:
        return estimate(self.plan, self.base, self.report, self.machine, self.directory)


Rule = Callable[[Context], Iterator[Problem]]
