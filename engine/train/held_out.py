"""The pictures of a validation as batches: encoded once, always in the same order, centred and never mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from engine.dataset.cache import TensorCache
from engine.dataset.held_out import name_of
from engine.dataset.images import placement
from engine.dataset.report import DatasetReport, Item
from engine.errors import UserError
from engine.families.base import Geometry
from engine.plan.schema import Plan
from engine.planning.data import treatments, validated_on
from engine.train.ahead import held, sent
from engine.train.autoencoder import unheard
from engine.train.extras import ExtraSource, extra_sources
from engine.train.feeding import Progress
from engine.train.latents import CENTRE, LatentTable, LiveLatents
from engine.train.loop import Batch
from engine.train.masks import Masks
from engine.train.setup import AdaptedModel
from engine.train.texts import LiveTexts, TextTable


class HeldOut:
    """Batches of the pictures that a plan validates on; of several captions each has its first."""

    def __init__(
        self,
        items: Sequence[Item],
        latents: LatentTable | LiveLatents,
        texts: TextTable | LiveTexts,
        device: torch.device,
        extras: Sequence[ExtraSource] = (),
        masks: Masks | None = None,
    ) -> None:
        self.items = items
        self.names = [name_of(item) for item in items]
        self._latents = latents
        self._texts = texts
        self._device = device
        self._extras = extras
        self._masks = masks

    @classmethod
    def of(
        cls, plan: Plan, adapted: AdaptedModel, report: DatasetReport, cache_folder: Path, progress: Progress
    ) -> HeldOut | None:
        """Encode what the plan validates on, if it validates; `report` is that of its pictures, `progress` may raise.

        UserError where no picture is left, as where none of them has a condition picture.
        """
        if not plan.validation.every:
            return None
        cache = TensorCache(cache_folder)
        report = replace(report, items=validated_on(plan, report))
        items, extras = extra_sources(plan, report, cache, partial(progress, "condition maps"))
        if not items:
            raise UserError(
                "there is no picture to validate on",
                f"validation.share is {plan.validation.share:g} of {report.counts.images} pictures",
                "raise validation.share, name a folder in validation.path, or set validation.every = 0",
            )
        latents: LatentTable | LiveLatents = LiveLatents(items, adapted)
        if plan.caches_latents:
            flips = [False] * len(items)
            latents = LatentTable.build(items, adapted, cache, flips, partial(progress, "latents"))
        texts: TextTable | LiveTexts = LiveTexts(adapted, plan.options.trains_text)
        if plan.caches_text:
            shown = {item.caption for item in items}
            texts = TextTable.build(shown, adapted, cache, partial(progress, "captions"))
        own, fold = cache if plan.caches_latents else None, adapted.family.spec.downscale
        masks = Masks.build(items, treatments(plan, items), fold, own, partial(progress, "masks"), unheard)
        return cls(items, latents, texts, adapted.device, extras, masks)

    def batches(self, limit: int) -> Iterator[Batch]:
        """All pictures, each once, at most `limit` of one size together; `slots` are their places in `items`."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for row, item in enumerate(self.items):
            by_size.setdefault(item.size, []).append(row)
        for _, rows in sorted(by_size.items()):
            for first in range(0, len(rows), limit):
                yield self._batch(rows[first : first + limit])

    def _batch(self, rows: list[int]) -> Batch:
        items = [self.items[row] for row in rows]
        flips, crops = [False] * len(rows), [CENTRE] * len(rows)
        mean, std = self._latents.gather(rows, flips, crops)()
        extra = {
            name: sent(held(value, self._device), self._device)
            for source in self._extras
            for name, value in source.rows(items, flips, crops).items()
        }
        weights = torch.ones(len(rows))
        if self._masks is not None:
            weights = self._masks.weights(rows, flips, crops, weights.tolist())
        return Batch(
            slots=tuple(rows),
            mean=mean,
            std=std,
            cond=self._texts.gather([item.caption for item in items])(),
            weights=sent(held(weights, self._device), self._device),
            sizes=tuple(map(_geometry, items)),
            extra=extra,
        )


def _geometry(item: Item) -> Geometry:
    placed = placement(item.width, item.height, item.size, CENTRE)
    return Geometry((item.height, item.width), (placed.top, placed.left), (item.size[1], item.size[0]))
