"""What the loop eats: batches of latents and conditioning, from tables that were encoded once, or on the fly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from engine import draws
from engine.dataset.cache import TensorCache
from engine.dataset.caption_draws import CaptionDraws
from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.images import placement
from engine.dataset.loader import BatchPlan
from engine.dataset.report import DatasetReport, Item
from engine.dataset.treatment import Treatment
from engine.families.base import Geometry
from engine.keys import uniform
from engine.plan.methods.base import Stage
from engine.plan.schema import Plan
from engine.planning.data import treatments
from engine.train.extras import ExtraSource, extra_sources
from engine.train.latents import LatentTable, LiveLatents
from engine.train.loop import Batch, Feed
from engine.train.setup import AdaptedModel
from engine.train.texts import LiveTexts, TextTable
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
    ) -> None:
        """`weight` and `first_slot` are for pictures that run beside others (class pictures)."""
        self.plan = plan
        self.items = items
        self.latents = latents
        self.texts = texts
        self.device = device
        self.extras = extras
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

    def epoch(self, step: int) -> float:
        """How often the data set has been seen after `step` updates."""
        return step * self.plan.train.gradient_accumulation / self.order.batches_per_epoch

    def learning_rate_factor(self, step: int) -> float:
        """The factor of the learning rate at update `step`."""
        return 1.0

    def step(self, step: int, limit: int) -> Iterator[Batch]:
        """The batches of update `step` (1-based), each in pieces of at most `limit` samples of this process."""
        size, count = self.plan.train.batch_size, self.plan.train.gradient_accumulation
        for micro in range(count):
            rows = self.order.batch((step - 1) * count + micro)
            start = self.first_slot + micro * size
            # The places in this batch whose slots are the process's own: all of them where it is alone.
            own = range((self.world.rank - start) % self.world.size, size, self.world.size)
            for first in range(0, len(own), limit):
                places = own[first : first + limit]
                slots = tuple(start + place for place in places)
                yield self._batch(step, [int(rows[place]) for place in places], slots)

    def _batch(self, step: int, rows: list[int], slots: tuple[int, ...]) -> Batch:
        seed, shown_as = self.plan.seed, [self.treatments[row] for row in rows]
        flips = [False] * len(rows)
        if any(each.flip for each in shown_as):
            turned = draws.flags(seed, "flip", step, slots, 0.5)
            flips = [turn and each.flip for turn, each in zip(turned, shown_as, strict=True)]
        crops = [self._crop(step, slot, each) for slot, each in zip(slots, shown_as, strict=True)]
        mean, std = self.latents.rows(rows, flips, crops)
        items = [self.items[row] for row in rows]
        epoch = int(self.epoch(step - 1))
        drawn = draws.uniforms(seed, "caption-dropout", step, slots)
        dropped = [draw < each.caption_dropout for draw, each in zip(drawn, shown_as, strict=True)]
        # Numbers the draws, not the pictures: one that comes twice in an epoch has its tags shuffled anew.
        shown = [(epoch, slot + step * len(self.items)) for slot in slots]
        cond = self.texts.rows(self.captions.texts(rows, dropped, shown))
        return Batch(
            slots=slots,
            mean=mean.to(self.device, non_blocking=True),
            std=std.to(self.device, non_blocking=True),
            cond=cond,
            weights=torch.tensor([self.weight * each.weight for each in shown_as], device=self.device),
            sizes=tuple(map(self._geometry, rows, flips, crops)),
            extra={
                name: value.to(self.device, non_blocking=True)
                for source in self.extras
                for name, value in source.rows(items, flips, crops).items()
            },
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


class StagedFeed:
    """Resolution stages, one feed after the other; the next one is made when the training reaches it."""

    extras: Sequence[ExtraSource] = ()

    def __init__(
        self, stages: Sequence[Stage], items: Sequence[Item], build: Callable[[int], DataFeed]
    ) -> None:
        """`items` are the pictures at the plan's own resolution."""
        self.stages = stages
        self.items = items
        self._build = build
        self._current: tuple[int, DataFeed] | None = None
        self._epochs_a_step: dict[int, float] = {}

    def index(self, step: int) -> int:
        """The stage of update `step` (1-based); steps beyond the last stage belong to it."""
        return next((n for n, stage in enumerate(self.stages) if step <= stage.last), len(self.stages) - 1)

    def feed(self, step: int) -> DataFeed:
        """The feed of the stage that update `step` lies in."""
        number = self.index(step)
        if self._current is None or self._current[0] != number:
            self._current = None  # the latents of two stages need not lie in memory at once
            self._current = (number, self._build(self.stages[number].side))
            self._epochs_a_step[number] = self._current[1].epoch(1)
        return self._current[1]

    def epoch(self, step: int) -> float:
        """How often the data set has been seen; every stage shows the same pictures, bucketed anew."""
        number = self.index(step)
        if number not in self._epochs_a_step:
            self.feed(step)
        return step * self._epochs_a_step[number]

    def learning_rate_factor(self, step: int) -> float:
        return self.stages[self.index(step)].factor

    def step(self, step: int, limit: int) -> Iterator[Batch]:
        """The batches of update `step`, at its stage's resolution."""
        return self.feed(step).step(step, limit)


def make_feed(
    plan: Plan,
    adapted: AdaptedModel,
    report: DatasetReport,
    cache_folder: Path,
    progress: Progress,
    prior: Sequence[Item] = (),
    world: World = ALONE,
) -> SampleFeed:
    """Encode what the plan lets be encoded once, and put the feed together; `progress` may raise to leave.

    `prior` are the class pictures. Resolution stages are encoded when the training reaches them.
    """
    cache = TensorCache(cache_folder)
    build = partial(_data_feed, adapted=adapted, cache=cache, progress=progress, world=world)
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
    return plan.model_copy(update={"data": data}), report.require().at(side, plan.data.bucket)


def _data_feed(
    plan: Plan,
    items: Sequence[Item],
    *,
    adapted: AdaptedModel,
    cache: TensorCache,
    progress: Progress,
    world: World,
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
    texts: TextTable | LiveTexts
    if plan.caches_text:
        every = CaptionDraws(items, shown_as, rules, plan.seed).every()
        texts = TextTable.build(every, adapted, cache, partial(progress, "captions"))
    else:
        texts = LiveTexts(adapted, plan.options.trains_text)
    return DataFeed(plan, items, latents, texts, adapted.device, extras, weight, first_slot, world, rules)
