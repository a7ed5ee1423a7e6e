"""What a sample has beside picture and caption: a condition picture; a source more is its maker and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from engine.cost.disk import preview_size
from engine.dataset.cache import TensorCache
from engine.dataset.report import DatasetReport, Item
from engine.plan.schema import Plan
from engine.train.conditions import conditions_for
from engine.train.latents import Crop


class ExtraSource(Protocol):
    """Named tensors that belong to pictures, from whatever part of the data set has them."""

    @property
    def items(self) -> Sequence[Item]:
        """The pictures that have it; others are not trained on."""
        ...

    def rows(
        self, items: Sequence[Item], flips: Sequence[bool], crops: Sequence[Crop]
    ) -> Mapping[str, Tensor]:
        """Each [b, ...], placed and turned as the pictures are."""
        ...

    def for_previews(
        self, prompts: Sequence[str], size: tuple[int, int], folder: Path | None
    ) -> Sequence[Mapping[str, Tensor]]:
        """What a preview of each prompt needs, each [1, ...]; a `folder` gets what a person should see of it."""
        ...


Maker = Callable[[Plan, DatasetReport, TensorCache, Callable[[int, int], None]], ExtraSource | None]
MAKERS: tuple[Maker, ...] = (conditions_for,)


def extra_sources(
    plan: Plan, report: DatasetReport, cache: TensorCache, progress: Callable[[int, int], None]
) -> tuple[Sequence[Item], tuple[ExtraSource, ...]]:
    """The pictures that have everything that the plan asks for beside them, and where it comes from."""
    found: list[ExtraSource] = []
    for make in MAKERS:
        source = make(plan, report, cache, progress)
        if source is not None:
            report = replace(report, items=tuple(source.items))
            found.append(source)
    return report.items, tuple(found)


def preview_extras(
    sources: Sequence[ExtraSource], plan: Plan, prompts: Sequence[str], folder: Path | None
) -> list[dict[str, Tensor]]:
    """What previews need beside their prompts, one a prompt; empty where there is no source."""
    each = [source.for_previews(prompts, preview_size(plan), folder) for source in sources]
    return [
        {name: value for rows in together for name, value in rows.items()}
        for together in zip(*each, strict=True)
    ]
