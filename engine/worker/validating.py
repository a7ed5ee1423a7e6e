"""Validations of a live run: when one is due, what is told of it, the advice to stop, and an end that was asked for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.plan.schema import Plan
from engine.run import kinds
from engine.train.sparing import free_cache
from engine.train.training import Training
from engine.train.validation_history import PAST_BEST, told_in
from engine.worker.telling import Telling

PATIENCE: Final = 5
"""So many validations without a new lowest loss, and a person is told once."""


@dataclass
class Validations:
    """Those of one run. One that fails, as where memory is short, is an event and not the end."""

    plan: Plan
    training: Training
    telling: Telling
    advised: bool = False
    """Was the advice given?"""

    def due(self) -> bool:
        """Is this step one to validate at? Every so many, at the beginning and at the end."""
        every, step = self.plan.validation.every, self.training.step
        return every > 0 and (step % every == 0 or step == self.plan.train.steps)

    def restore(self, events_file: Path) -> bool:
        """Take in what the run's events tell up to this step; True where this step is among them."""
        told = told_in(events_file, self.training.step)
        self.training.history, self.advised = told.history, told.advised
        return told.here

    def measure(self) -> None:
        """Validate, tell what came of it, and give the advice where it is time."""
        training, telling = self.training, self.telling
        began, step = time.monotonic(), training.step
        telling.phase("validating", f"loss of held-out pictures at step {step}")
        try:
            found = training.validate()
        except Exception as error:  # noqa: BLE001 - whatever it meets, the training goes on
            free_cache(training.adapted.device)
            text, took = f"{type(error).__name__}: {error}"[:500], _since(began)
            telling.validation(kinds.Validation(step, math.nan, 0, took, {}, {}, *self._best(), error=text))
            return
        numbers = (found.loss, found.pictures, _since(began), dict(found.bands), dict(found.signals))
        telling.validation(kinds.Validation(step, *numbers, *self._best(), found.raw))
        self._advise()

    @property
    def spent(self) -> bool:
        """Have there been as many validations without a new best as the plan allows?"""
        most = self.plan.validation.stop_after
        return 0 < most <= self.training.history.since_best

    def tell_end(self) -> None:
        """Why the run ends here."""
        best = self.training.history.best
        if best is not None and self.training.step < self.plan.train.steps:
            self.telling.warning(
                "stopped-early",
                f"the run ends at step {self.training.step} of {self.plan.train.steps}, as validation.stop_after asks: "
                f"the loss of held-out pictures was lowest at step {best[0]}{self._export(best[0])}",
            )

    def _advise(self) -> None:
        best = self.training.history.best
        if self.advised or self.spent or best is None or self.training.history.since_best < PATIENCE:
            return
        self.advised = True
        self.telling.warning(
            PAST_BEST,
            f"the loss of held-out pictures was lowest at step {best[0]} and has not been lower in the {PATIENCE} "
            "validations since: more steps may teach the pictures by heart. Compare the previews, and stop the run if "
            f"they agree{self._export(best[0])}",
        )

    def _export(self, step: int) -> str:
        there = step > 0 and (self.telling.run.checkpoints / f"step-{step:08d}").is_dir()
        name = self.telling.run.name
        return f"; `sdtrain export {name} --step {step}` writes the files of that step" if there else ""

    def _best(self) -> tuple[int | None, float | None]:
        best = self.training.history.best
        return (None, None) if best is None else best


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
