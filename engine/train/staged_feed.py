"""Resolution stages as one feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from engine.dataset.report import Item
from engine.plan.methods.base import Stage
from engine.train.ahead import Outline
from engine.train.extras import ExtraSource
from engine.train.loop import Batch

if TYPE_CHECKING:
    from engine.train.feeding import DataFeed


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
            self._current[1].last = self.stages[number].last
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

    def outline(self, step: int, limit: int) -> Outline:
        """Of the stage that is trained; none of the next one, which is not encoded yet."""
        return self._current[1].outline(step, limit) if self._current is not None else ()
