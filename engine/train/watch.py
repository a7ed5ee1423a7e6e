"""Who hears how a training comes along."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from engine.train.loop import StepReport


class Watch:
    """Override what is of interest: progress stays silent by itself, and a warning is a Python warning.

    A method that raises ends what is going on; the weights are then those of the last finished update.
    """

    def phase(self, phase: str, text: str = "") -> None:
        """Something else begins: loading, caching or training."""

    def progress(self, text: str, done: int, total: int) -> None:
        """What is being made, how many are done, of how many."""

    def trainables(self, table: Mapping[str, tuple[int, int]]) -> None:
        """For each module that trains: (parameters, tensors)."""

    def report(self, report: StepReport) -> None:
        """One finished update."""

    def warning(self, code: str, text: str) -> None:
        """Something to know that stops nothing; `code` is a short name for programs."""
        warnings.warn(text, stacklevel=2)
