"""What a run's validations have come to: the best step, and since when there was no better one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from engine.plan.schema import Plan


@dataclass
class History:
    """The steps that were validated, rising, with their losses; those that are not finite never are the best."""

    losses: dict[int, float] = field(default_factory=dict)

    def add(self, step: int, loss: float) -> None:
        """One more; of a step that was validated before the last measure counts."""
        self.losses.pop(step, None)
        self.losses[step] = loss

    def forget_after(self, step: int) -> None:
        """What comes after this step is going to be measured again."""
        self.losses = {at: loss for at, loss in self.losses.items() if at <= step}

    @property
    def best(self) -> tuple[int, float] | None:
        """The step of the lowest loss, the earliest of equal ones, and that loss."""
        finite = [(loss, step) for step, loss in self.losses.items() if math.isfinite(loss)]
        if not finite:
            return None
        loss, step = min(finite)
        return step, loss

    def kept(self, plan: Plan) -> frozenset[int]:
        """The steps whose checkpoints stay whatever `checkpoints.keep` says."""
        best = self.best
        return frozenset({best[0]} if best is not None and plan.validation.keep_best else ())

    @property
    def since_best(self) -> int:
        """How many validations came after the best one."""
        best = self.best
        return 0 if best is None else sum(step > best[0] for step in self.losses)
