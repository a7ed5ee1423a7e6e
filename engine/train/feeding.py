"""What the loop eats: batches of latents and conditioning, from tables that were encoded once, or on the fly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from engine import draws
from engine.dataset.cache import TensorCache
from engine.dataset.caption_draws import CaptionDraws
from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.colours import Colours
from engine.dataset.images import placement
from engine.dataset.loader import BatchPlan
from engine.dataset.report import DatasetReport, Item
from engine.dataset.treatment import Treatment
from engine.families.base import Geometry
from engine.keys import uniform
from engine.plan.schema import Plan
from engine.planning.data import treatments
from engine.train.ahead import Ahead, Outline, held, sent
from engine.train.autoencoder import Warn, unheard
from engine.train.extras import ExtraSource, extra_sources
from engine.train.latents import Crop, LatentTable, LiveLatents, ReadyLatents
from engine.train.loop import Batch, Feed
from engine.train.masks import Masks
from engine.train.setup import AdaptedModel
from engine.train.staged_feed import StagedFeed
from engine.train.texts import LiveTexts, ReadyTexts, TextTable
from engine.train.world import ALONE, World

Progress = Callable[[str, int, int], None]
"""What is being made, how many are done, of how many."""


class SampleFeed(Feed, Protocol):
    """A feed that says which pictures it shows, and where what belongs to them beside captions comes from."""

    @property
    def items(self) -> Sequence[Item]: ...

    @property
    def extras(self) -> Sequence[ExtraSource]: ...


class DataFeed:
    """Batches of one data set; which sample stands where is a function of (seed, step) alone."""

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Item],
        latents: LatentTable | LiveLatents,
        texts: TextTable | LiveTexts,
        device: torch.device,
        extras: Sequence[ExtraSource] = (),
        weight: float = 1.0,
        first_slot: int = 0,
        world: World = ALONE,
        rules: CaptionRules = USUAL,
        masks: Masks | None = None,
    ) -> None:
        """`weight` and `first_slot` are for pictures that run beside others (class pictures)."""
        self.plan = plan
        self.items = items
        self.latents = latents
        self.texts = texts
        self.device = device
        self.extras = extras
        self.masks = masks
        # Class pictures, the only ones with another slot to begin at, keep what the base knows of their colours.
        self.colours = plan.data.colours if first_slot == 0 else Colours()
        self.weight = weight
        self.first_slot = first_slot
        self.world = world
        self.treatments = treatments(plan, items)
        self.captions = CaptionDraws(items, self.treatments, rules, plan.seed)
        self.order = BatchPlan(
            [item.size for item in items],
            plan.train.batch_size,
            plan.seed,
            [each.repeats for each in self.treatments],
        )
        self.last = plan.train.steps
        """The last update that is read ahead for."""
        self._ahead = Ahead(self._gathered)

    def epoch(self, step: int) -> float:
        """How often the data set has been seen after `step` updates."""
        return step * self.plan.train.gradient_accumulation / self.order.batches_per_epoch

    def learning_rate_factor(self, step: int) -> float:
        """The factor of the learning rate at update `step`."""
        return 1.0

    def step(self, step: int, limit: int) -> Iterator[Batch]:
        """The batches of update `step` (1-based), each in pieces of at most `limit` samples of this process."""
        then = (step + 1, limit) if step < self.last else None
        for ready in self._ahead.take((step, limit), then):
            yield ready()

    def outline(self, step: int, limit: int) -> Outline:
        """Slots and size of each batch that `step` gives; none after the last update."""
        if step > self.last:
            return ()
        return [(slots, self.items[rows[0]].size) for rows, slots in self._places(step, limit)]

    def _places(self, step: int, limit: int) -> Iterator[tuple[list[int], tuple[int, ...]]]:
        """Of each batch its pictures' numbers and slots."""
        size, count = self.plan.train.batch_size, self.plan.train.gradient_accumulation
        for micro in range(count):
            rows = self.order.batch((step - 1) * count + micro)
            start = self.first_slot + micro * size
            # The places in this batch whose slots are the process's own: all of them where it is alone.
            own = range((self.world.rank - start) % self.world.size, size, self.world.size)
            for first in range(0, len(own), limit):
                places = own[first : first + limit]
                slots = tuple(start + place for place in places)
                yield [int(rows[place]) for place in places], slots

    def _gathered(self, at: tuple[int, int]) -> list[Callable[[], Batch]]:
        """All that a step's batches need of disk and processor; each is put together by the thread that trains."""
        step, limit = at
        return [self._gather(step, rows, slots) for rows, slots in self._places(step, limit)]

    def _gather(self, step: int, rows: list[int], slots: tuple[int, ...]) -> Callable[[], Batch]:
        seed, shown_as = self.plan.seed, [self.treatments[row] for row in rows]
        flips = [False] * len(rows)
        if any(each.flip for each in shown_as):
            turned = draws.flags(seed, "flip", step, slots, 0.5)
            flips = [turn and each.flip for turn, each in zip(turned, shown_as, strict=True)]
        crops = [self._crop(step, slot, each) for slot, each in zip(slots, shown_as, strict=True)]
        items = [self.items[row] for row in rows]
        epoch = int(self.epoch(step - 1))
        drawn = draws.uniforms(seed, "caption-dropout", step, slots)
        dropped = [draw < each.caption_dropout for draw, each in zip(drawn, shown_as, strict=True)]
        # Numbers the draws, not the pictures: one that comes twice in an epoch has its tags shuffled anew.
        shown = [(epoch, slot + step * len(self.items)) for slot in slots]
        host = {
            name: held(value, self.device)
            for source in self.extras
            for name, value in source.rows(items, flips, crops).items()
        }
        scale = [self.weight * each.weight for each in shown_as]
        if self.masks is None:
            weights = torch.tensor(scale)
        else:
            weights = self.masks.weights(rows, flips, crops, scale)
        return partial(
            self._batch,
            slots,
            self._latents(step, slots, rows, flips, crops),
            self.texts.gather(self.captions.texts(rows, dropped, shown)),
            held(weights, self.device),
            tuple(map(self._geometry, rows, flips, crops)),
            host,
        )

    def _latents(
        self, step: int, slots: tuple[int, ...], rows: list[int], flips: list[bool], crops: list[Crop]
    ) -> ReadyLatents:
        if not self.colours.any or isinstance(self.latents, LatentTable):
            return self.latents.gather(rows, flips, crops)
        changes = [self.colours.drawn(self.plan.seed, step, slot) for slot in slots]
        return self.latents.gather(rows, flips, crops, changes)

    def _batch(
        self,
        slots: tuple[int, ...],
        latents: ReadyLatents,
        cond: ReadyTexts,
        weights: Tensor,
        sizes: tuple[Geometry, ...],
        host: Mapping[str, Tensor],
    ) -> Batch:
        mean, std = latents()
        return Batch(
            slots=slots,
            mean=mean,
            std=std,
            cond=cond(),
            weights=sent(weights, self.device),
            sizes=sizes,
            extra={name: sent(value, self.device) for name, value in host.items()},
        )

    def _crop(self, step: int, slot: int, shown_as: Treatment) -> tuple[float, float]:
        if not shown_as.random_crop:
            return 0.5, 0.5
        seed = self.plan.seed
        return uniform(seed, "crop-x", step, slot), uniform(seed, "crop-y", step, slot)

    def _geometry(self, row: int, flip: bool, crop: tuple[float, float]) -> Geometry:
        item = self.items[row]
        placed = placement(item.width, item.height, item.size, crop, flip)
        return Geometry((item.height, item.width), (placed.top, placed.left), (item.size[1], item.size[0]))


class PriorFeed:
    """A feed and class pictures beside it: each update sees as many of both, and adds their losses."""

    def __init__(self, main: DataFeed, prior: DataFeed) -> None:
        self.main = main
        self.prior = prior
        self.items = main.items
        self.extras = main.extras

    def epoch(self, step: int) -> float:
        """How often the pictures, not the class pictures, have been seen."""
        return self.main.epoch(step)

    def learning_rate_factor(self, step: int) -> float:
        return self.main.learning_rate_factor(step)

    def step(self, step: int, limit: int) -> Iterator[Batch]:
        """First the pictures' batches, then the class pictures'."""
        yield from self.main.step(step, limit)
        yield from self.prior.step(step, limit)

    def outline(self, step: int, limit: int) -> Outline:
        """Of both, in that order."""
        return [*self.main.outline(step, limit), *self.prior.outline(step, limit)]


def make_feed(
    plan: Plan,
    adapted: AdaptedModel,
    report: DatasetReport,
    cache_folder: Path,
    progress: Progress,
    prior: Sequence[Item] = (),
    world: World = ALONE,
    warn: Warn = unheard,
) -> SampleFeed:
    """Encode what the plan lets be encoded once, and put the feed together; `progress` may raise to leave.

    `prior` are the class pictures. Resolution stages are encoded when the training reaches them.
    """
    cache = TensorCache(cache_folder)
    build = partial(_data_feed, adapted=adapted, cache=cache, progress=progress, world=world, warn=warn)
    if stages := plan.options.stages_of_resolution:
        return StagedFeed(stages, report.items, lambda side: build(*_stage(plan, report, side)))
    items, extras = extra_sources(plan, report, cache, partial(progress, "condition maps"))
    main = build(plan, items, extras=extras)
    if not prior:
        return main
    first_slot = plan.train.batch_size * plan.train.gradient_accumulation
    # What the plan makes of captions is for the pictures to learn: class pictures have their class's words alone.
    classes = build(plan, prior, weight=plan.data.class_weight, first_slot=first_slot, rules=USUAL)
    return PriorFeed(main, classes)


def _stage(plan: Plan, report: DatasetReport, side: int) -> tuple[Plan, Sequence[Item]]:
    """The plan and the pictures of a stage of this resolution."""
    data = plan.data.model_copy(update={"resolution": side})
    return plan.model_copy(update={"data": data}), report.require().at(side, data.bucket, data.limits)


def _data_feed(
    plan: Plan,
    items: Sequence[Item],
    *,
    adapted: AdaptedModel,
    cache: TensorCache,
    progress: Progress,
    world: World,
    warn: Warn,
    weight: float = 1.0,
    first_slot: int = 0,
    extras: Sequence[ExtraSource] = (),
    rules: CaptionRules | None = None,
) -> DataFeed:
    rules = plan.caption_rules if rules is None else rules
    shown_as = treatments(plan, items)
    latents: LatentTable | LiveLatents
    if plan.caches_latents:
        flips = [each.flip for each in shown_as]
        latents = LatentTable.build(items, adapted, cache, flips, partial(progress, "latents"))
    else:
        latents = LiveLatents(items, adapted)
    own, fold = cache if plan.caches_latents else None, adapted.family.spec.downscale
    masks = Masks.build(items, shown_as, fold, own, partial(progress, "masks"), warn)
    texts: TextTable | LiveTexts
    if plan.caches_text:
        every = CaptionDraws(items, shown_as, rules, plan.seed).every()
        texts = TextTable.build(every, adapted, cache, partial(progress, "captions"))
    else:
        texts = LiveTexts(adapted, plan.options.trains_text)
    return DataFeed(
        plan, items, latents, texts, adapted.device, extras, weight, first_slot, world, rules, masks
    )
