"""What the loop eats: batches of latents and conditioning, from tables that were encoded once, or on the fly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from engine.dataset.cache import TensorCache
from engine.dataset.images import place
from engine.dataset.loader import BatchPlan
from engine.dataset.report import DatasetReport, Item
from engine.families.base import Geometry
from engine.keys import uniform
from engine.plan.schema import Plan
from engine.train import draws
from engine.train.latents import LatentTable, LiveLatents
from engine.train.loop import Batch
from engine.train.setup import Ready
from engine.train.texts import LiveTexts, TextTable

Progress = Callable[[str, int, int], None]
"""What is being made, how many are done, of how many."""


class DataFeed:
    """Batches of one data set; which sample stands where is a function of (seed, step) alone."""

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Item],
        latents: LatentTable | LiveLatents,
        texts: TextTable | LiveTexts,
        device: torch.device,
    ) -> None:
        self.plan = plan
        self.items = items
        self.latents = latents
        self.texts = texts
        self.device = device
        self.order = BatchPlan(
            [item.size for item in items], plan.train.batch_size, plan.seed, plan.data.repeats
        )

    def epoch(self, step: int) -> float:
        """How often the data set has been seen after `step` updates."""
        return step * self.plan.train.gradient_accumulation / self.order.batches_per_epoch

    def step(self, step: int, limit: int) -> Iterator[Batch]:
        """The batches of update `step` (1-based), each in pieces of at most `limit` samples."""
        size, count = self.plan.train.batch_size, self.plan.train.gradient_accumulation
        for micro in range(count):
            rows = self.order.batch((step - 1) * count + micro)
            for first in range(0, size, limit):
                part = rows[first : first + limit]
                slots = tuple(range(micro * size + first, micro * size + first + len(part)))
                yield self._batch(step, [int(row) for row in part], slots)

    def _batch(self, step: int, rows: list[int], slots: tuple[int, ...]) -> Batch:
        data, seed = self.plan.data, self.plan.seed
        flips = draws.flags(seed, "flip", step, slots, 0.5) if data.flip else [False] * len(rows)
        crops = [self._crop(step, slot) for slot in slots]
        mean, std = self.latents.rows(rows, flips, crops)
        epoch = int(self.epoch(step - 1))
        dropped = draws.flags(seed, "caption-dropout", step, slots, data.caption_dropout)
        cond = self.texts.rows(rows, dropped, [(epoch, slot + step * len(self.items)) for slot in slots])
        return Batch(
            slots=slots,
            mean=mean.to(self.device, non_blocking=True),
            std=std.to(self.device, non_blocking=True),
            cond=cond,
            weights=torch.ones(len(rows), device=self.device),
            sizes=tuple(self._geometry(row, crop) for row, crop in zip(rows, crops, strict=True)),
        )

    def _crop(self, step: int, slot: int) -> tuple[float, float]:
        if not self.plan.data.random_crop:
            return 0.5, 0.5
        seed = self.plan.seed
        return uniform(seed, "crop-x", step, slot), uniform(seed, "crop-y", step, slot)

    def _geometry(self, row: int, crop: tuple[float, float]) -> Geometry:
        item = self.items[row]
        placed = place(item.width, item.height, item.size, crop)
        return Geometry(
            (item.height, item.width), (int(placed.top), int(placed.left)), (item.size[1], item.size[0])
        )


def make_feed(
    plan: Plan, ready: Ready, report: DatasetReport, cache_folder: Path, progress: Progress
) -> DataFeed:
    """Encode what the plan lets be encoded once, and put the feed together; `progress` may raise to leave."""
    cache = TensorCache(cache_folder)
    items, data = report.items, plan.data
    latents: LatentTable | LiveLatents
    if plan.caches_latents:
        latents = LatentTable.build(items, ready, cache, data.flip, partial(progress, "latents"))
    else:
        latents = LiveLatents(items, ready)
    texts: TextTable | LiveTexts
    if plan.caches_text:
        texts = TextTable.build(items, ready, cache, partial(progress, "captions"))
    else:
        texts = LiveTexts(items, ready, plan)
    return DataFeed(plan, items, latents, texts, ready.device)
