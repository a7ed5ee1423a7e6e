"""Validations of a live run: when one is due, what is told of it, the advice to stop, and an end that was asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.plan.schema import Plan
from engine.run import kinds
from engine.train.sparing import free_cache
from engine.train.training import Training
from engine.train.validation_history import PAST_BEST, STOPPED_EARLY, told_in
from engine.worker.telling import Telling

PATIENCE: Final = 5
"""So many validations without a new lowest loss, and a person is told once."""


@dataclass
class Validations:
    """Those of one run. One that fails, as where memory is short, is an event and not the end."""

    plan: Plan
    training: Training
    telling: Telling
    leaving: Callable[[], bool]
    """Has somebody asked the run to leave? A validation is then left, and made up by the resume."""
    told_of: int = -1
    """The step whose validation was told last."""
    warned: set[str] = field(default_factory=set)
    """The codes of what was said already: each is said once in a run."""

    def due(self) -> bool:
        """Is this step one to validate at, and not told yet? Every so many, at the beginning and at the end."""
        every, step = self.plan.validation.every, self.training.step
        its_turn = every > 0 and (step % every == 0 or step == self.plan.train.steps)
        return its_turn and step != self.told_of

    def restore(self, events_file: Path) -> None:
        """Take in what the run's events tell up to this step."""
        told = told_in(events_file, self.training.step)
        self.training.history, self.warned = told.history, told.warned
        self.told_of = self.training.step if told.here else -1

    def measure(self) -> None:
        """Validate, tell what came of it, and give the advice where it is time."""
        training, telling = self.training, self.telling
        began, step = time.monotonic(), training.step
        telling.phase("validating", f"loss of held-out pictures at step {step}")
        try:
            found = training.validate(self.leaving)
        except InterruptedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it meets, the training goes on
            free_cache(training.adapted.device)
            self.told_of, text = step, f"{type(error).__name__}: {error}"[:500]
            took = _since(began)
            telling.validation(kinds.Validation(step, math.nan, 0, took, {}, {}, *self._best(), error=text))
            return
        self.told_of = step
        numbers = (found.loss, found.pictures, _since(began), dict(found.bands), dict(found.signals))
        telling.validation(kinds.Validation(step, *numbers, *self._best(), found.raw))
        self._advise()

    @property
    def spent(self) -> bool:
        """Have there been as many validations without a new best as the plan allows?"""
        most = self.plan.validation.stop_after
        return 0 < most <= self.training.history.since_best

    def tell_end(self) -> None:
        """Why the run ends here, if it ends early."""
        step, steps, best = self.training.step, self.plan.train.steps, self.training.history.best
        if best is not None and step < steps:
            self._warn(
                STOPPED_EARLY,
                f"the run ends at step {step} of {steps}, as validation.stop_after asks: the loss of held-out pictures "
                f"was lowest at step {best[0]}{self._export(best[0])}",
            )

    def _advise(self) -> None:
        best = self.training.history.best
        if best is not None and self.training.history.since_best >= PATIENCE and not self.spent:
            self._warn(
                PAST_BEST,
                f"the loss of held-out pictures was lowest at step {best[0]} and has not been lower in the {PATIENCE} "
                "validations since: more steps may teach the pictures by heart. Compare the previews, and stop the run "
                f"if they agree{self._export(best[0])}",
            )

    def _warn(self, code: str, text: str) -> None:
        if code not in self.warned:
            self.warned.add(code)
            self.telling.warning(code, text)

    def _export(self, step: int) -> str:
        there = step > 0 and (self.telling.run.checkpoints / f"step-{step:08d}").is_dir()
        name = self.telling.run.name
        return f"; `sdtrain export {name} --step {step}` writes the files of that step" if there else ""

    def _best(self) -> tuple[int | None, float | None]:
        best = self.training.history.best
        return (None, None) if best is None else best


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
